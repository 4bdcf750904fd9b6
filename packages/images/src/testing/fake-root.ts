import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { loadRecipe } from "../base-recipe.ts";
import type { RecipePlace } from "../base-recipe.ts";
import { hashOf } from "../content-hash.ts";

/** A recipe of the essential packages whose steps write a kernel and modules of a few bytes. */
export async function tinyRecipe(directory: string): Promise<RecipePlace> {
  const place = { directory: join(directory, "recipe"), interpreterDirectory: directory };
  await mkdir(place.directory, { recursive: true });
  const recipe = {
    name: "tiny",
    suite: "bookworm",
    variant: "essential",
    components: ["main"],
    packages: ["base-files"],
    kernelPackage: "none",
    initrdModules: ["first"],
    aptOptions: ['Acquire::Languages "none"'],
    dpkgOptions: ["path-exclude=/usr/share/doc/*"],
    interpreterModules: [],
  };
  await writeFile(join(place.directory, "recipe.json"), JSON.stringify(recipe));
  await writeFile(join(place.directory, "customize.sh"), customizeScript);
  await chmod(join(place.directory, "customize.sh"), 0o755);
  return place;
}

const customizeScript = `#!/bin/sh
set -eu
echo kernel >"$INSTAVM_BUILD_OUTPUTS/vmlinuz"
echo 6.1.0-test >"$INSTAVM_BUILD_OUTPUTS/kernel-release"
modules=$1/usr/lib/modules/6.1.0-test
mkdir -p "$modules"
printf 'x\\0depends=second\\0name=first\\0' >"$modules/first.ko"
printf 'x\\0depends=\\0name=second\\0' >"$modules/second.ko"
: >"$modules/modules.builtin"
`;

/** What a build of this recipe would leave in a cache directory, without building it. */
export async function fakeRootFilesystem(cacheDirectory: string, place: RecipePlace): Promise<void> {
  const recipe = await loadRecipe(place);
  const directory = join(cacheDirectory, "images", recipe.digest);
  await mkdir(join(directory, "modules"), { recursive: true });
  await writeFile(join(directory, "rootfs.erofs"), "root");
  await writeFile(join(directory, "vmlinuz"), "kernel");
  await writeFile(join(directory, "modules/second.ko"), "second");
  await writeFile(join(directory, "modules/first.ko"), "first!");
  const manifest = {
    version: 1,
    name: recipe.name,
    recipeDigest: recipe.digest,
    kernelRelease: "6.1.0-test",
    rootfsSha256: hashOf(["root"]),
    kernelSha256: hashOf(["kernel"]),
    rootfsBytes: 4,
    modules: [
      { name: "second.ko", sha256: hashOf(["second"]) },
      { name: "first.ko", sha256: hashOf(["first"]) },
    ],
    buildSeconds: 1,
  };
  await writeFile(join(directory, "manifest.json"), JSON.stringify(manifest));
}
