import { createHash } from "node:crypto";
import { chmod, copyFile, cp, mkdir, readFile, rename, stat, statfs } from "node:fs/promises";
import { basename, join } from "node:path";
import { InstaVmError } from "@instavm/contract";
import { z } from "zod";
import type { Recipe } from "./base-recipe.ts";
import { BootstrapProgress } from "./build-progress.ts";
import type { ProgressReport } from "./build-progress.ts";
import type { CacheLayout } from "./cache-layout.ts";
import { hashFile } from "./content-hash.ts";
import { mirrorLines } from "./debian-mirror.ts";
import { makeDraft } from "./drafts.ts";
import { isReadable, publish, syncPath, writeDurably } from "./durable-files.ts";
import { readJsonFile } from "./json-file.ts";
import { modulesInLoadOrder } from "./kernel-modules.ts";
import { runTool, toolEnvironment } from "./tool-run.ts";

const buildTimeoutMs = 45 * 60_000;
const fetchTimeoutMs = 3 * 60_000;
const packTimeoutMs = 10 * 60_000;
/** The unpacked root, its packages and the packed image side by side. */
const neededBytes = 4 * 1024 ** 3;
/** Of the package debian-archive-keyring, which script/setup installs. */
const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
/** Any will do; a fixed one, so that the same tree gives the same image. */
const filesystemUuid = "696e7374-6176-6d2d-8000-626173650000";

const manifestSchema = z.object({
  version: z.literal(1),
  name: z.string(),
  recipeDigest: z.string(),
  kernelRelease: z.string(),
  rootfsSha256: z.string(),
  kernelSha256: z.string(),
  rootfsBytes: z.int(),
  /** In load order, as file names in modules/, each with its hash. */
  modules: z.array(z.object({ name: z.string(), sha256: z.string() })),
  buildSeconds: z.number(),
});
type RootManifest = z.infer<typeof manifestSchema>;

/** A built root filesystem with the kernel that belongs to it. Absolute paths. */
export interface RootFilesystem {
  readonly manifest: RootManifest;
  readonly rootfsPath: string;
  readonly kernelPath: string;
  readonly modulesDirectory: string;
}

/** The root filesystem of a recipe where it was built and is whole; undefined otherwise. */
export async function findRootFilesystem(layout: CacheLayout, recipe: Recipe): Promise<RootFilesystem | undefined> {
  const directory = join(layout.images, recipe.digest);
  const file = await readJsonFile(join(directory, "manifest.json"), manifestSchema);
  if (file.kind !== "read" || file.value.recipeDigest !== recipe.digest) return undefined;
  const found = describe(directory, file.value);
  const paths = [
    found.rootfsPath,
    found.kernelPath,
    ...file.value.modules.map((module) => join(found.modulesDirectory, module.name)),
  ];
  for (const path of paths) if (!(await isReadable(path))) return undefined;
  return found;
}

function describe(directory: string, manifest: RootManifest): RootFilesystem {
  return {
    manifest,
    rootfsPath: join(directory, "rootfs.erofs"),
    kernelPath: join(directory, "vmlinuz"),
    modulesDirectory: join(directory, "modules"),
  };
}

/** What a build is given. */
interface RootBuild {
  readonly layout: CacheLayout;
  readonly recipe: Recipe;
  readonly progress: ProgressReport;
  readonly signal: AbortSignal | undefined;
}

/**
 * Makes the root filesystem of a recipe: packages by mmdebstrap, the recipe's own steps, one EROFS file. The caller
 * holds the build lock. Throws `host_setup`, `disk_full` or `unavailable` and leaves nothing behind.
 */
export async function buildRootFilesystem(build: RootBuild): Promise<RootFilesystem> {
  const startedMs = performance.now();
  await requireSpace(build.layout);
  await using draft = await makeDraft(build.layout.images);
  const tree = join(draft.path, "root");
  const result = join(draft.path, "result");
  await mkdir(result);
  await bootstrap(build, { draft: draft.path, tree, result });
  build.progress.at("pack the root filesystem");
  await pack(tree, join(result, "rootfs.erofs"), build.signal);
  build.progress.at("check the image");
  const manifest = await writeManifest(build, { tree, result, startedMs });
  const directory = join(build.layout.images, build.recipe.digest);
  await publish(result, directory);
  return describe(directory, manifest);
}

/** Throws `host_setup` for any other user than root. */
export function requireRoot(): void {
  if (process.getuid?.() === 0) return;
  throw new InstaVmError(
    "host_setup",
    "Building an image takes root: it makes files of other owners and enters a new root.",
    { next: "Run script/setup as root." },
  );
}

async function requireSpace(layout: CacheLayout): Promise<void> {
  await mkdir(layout.images, { recursive: true });
  const { bavail, bsize } = await statfs(layout.images);
  if (bavail * bsize < neededBytes) {
    throw new InstaVmError(
      "disk_full",
      `${layout.root} has ${gib(bavail * bsize)} GiB free; building an image takes ${gib(neededBytes)} GiB.`,
      { next: "Free space there, or name another place with --cache-dir." },
    );
  }
}

function gib(bytes: number): string {
  return (bytes / 1024 ** 3).toFixed(1);
}

interface Workplace {
  readonly draft: string;
  readonly tree: string;
  readonly result: string;
}

async function bootstrap(build: RootBuild, place: Workplace): Promise<void> {
  const { recipe } = build;
  const inputs = join(place.draft, "inputs");
  await gatherInputs(recipe, inputs);
  await fetchNpm(build, inputs);
  build.progress.at("package lists");
  const output = new BootstrapProgress(build.progress);
  const mirrors = await mirrorLines(recipe.suite, recipe.components);
  await runTool(
    [
      "mmdebstrap",
      "--mode=root",
      "--format=directory",
      "--verbose",
      `--variant=${recipe.variant}`,
      // A host that is not Debian does not trust Debian's keys; without gpg mmdebstrap cannot find that out by itself.
      ...(mirrors.length === 0 ? [`--keyring=${debianKeyring}`] : []),
      `--components=${recipe.components.join(",")}`,
      `--include=${recipe.packages.join(",")}`,
      // Only while the image is made: a mirror or a network that hiccups must not cost the whole build.
      '--aptopt=Acquire::Retries "3"',
      ...recipe.aptOptions.map((option) => `--aptopt=${option}`),
      ...recipe.dpkgOptions.map((option) => `--dpkgopt=${option}`),
      '--customize-hook="$INSTAVM_BUILD_INPUTS/customize.sh" "$1"',
      recipe.suite,
      place.tree,
      ...mirrors,
    ],
    {
      timeoutMs: buildTimeoutMs,
      signal: build.signal,
      outputLimitBytes: 64 * 1024,
      onOutput: (chunk) => output.add(chunk),
      env: toolEnvironment({
        INSTAVM_BUILD_INPUTS: inputs,
        INSTAVM_BUILD_OUTPUTS: place.result,
        INSTAVM_KERNEL_PACKAGE: recipe.kernelPackage,
        TMPDIR: place.draft,
      }),
    },
  );
}

/** Copies all that the recipe's steps read to one directory, and the host's certificates where it has any. */
async function gatherInputs(recipe: Recipe, inputs: string): Promise<void> {
  await cp(recipe.place.directory, inputs, { recursive: true });
  await chmod(join(inputs, "customize.sh"), 0o755);
  for (const name of recipe.interpreterModules) {
    await copyFile(join(recipe.place.interpreterDirectory, name), join(inputs, name));
  }
  const certificates = process.env["SSL_CERT_FILE"] ?? "/etc/ssl/certs/ca-certificates.crt";
  if (await isReadable(certificates)) await copyFile(certificates, join(inputs, "ca.crt"));
}

async function fetchNpm(build: RootBuild, inputs: string): Promise<void> {
  if (build.recipe.npm === undefined) return;
  build.progress.at("fetch npm");
  const { version, integrity } = build.recipe.npm;
  const options = { timeoutMs: fetchTimeoutMs, signal: build.signal, cwd: inputs };
  const patience = ["--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"];
  await runTool(
    ["npm", "pack", `npm@${version}`, "--loglevel=error", ...patience, "--pack-destination", inputs],
    options,
  );
  const archive = join(inputs, "npm.tgz");
  await rename(join(inputs, `npm-${version}.tgz`), archive);
  const seen = `sha512-${createHash("sha512")
    .update(await readFile(archive))
    .digest("base64")}`;
  if (seen === integrity) return;
  throw new InstaVmError(
    "host_setup",
    `The archive of npm ${version} hashes to ${seen}; the recipe expects ${integrity}.`,
    {
      next: "Check which registry npm uses on this host: `npm config get registry`.",
    },
  );
}

/** Files keep their own times: Python's bytecode is valid only for a source of the very second. */
async function pack(tree: string, target: string, signal: AbortSignal | undefined): Promise<void> {
  const options = { timeoutMs: packTimeoutMs, signal, outputLimitBytes: 64 * 1024 };
  await runTool(["mkfs.erofs", "--quiet", "--preserve-mtime", `-U${filesystemUuid}`, target, tree], options);
}

interface Finished {
  readonly tree: string;
  readonly result: string;
  readonly startedMs: number;
}

async function writeManifest(build: RootBuild, finished: Finished): Promise<RootManifest> {
  const { result } = finished;
  const kernelRelease = (await readFile(join(result, "kernel-release"), "utf8")).trim();
  const installed = join(finished.tree, "usr/lib/modules", basename(kernelRelease));
  const modules = await keepModules(build.recipe, installed, join(result, "modules"));
  const rootfsPath = join(result, "rootfs.erofs");
  for (const path of [rootfsPath, join(result, "vmlinuz"), join(result, "modules")]) await syncPath(path);
  const manifest: RootManifest = {
    version: 1,
    name: build.recipe.name,
    recipeDigest: build.recipe.digest,
    kernelRelease,
    rootfsSha256: await hashFile(rootfsPath, build.signal),
    kernelSha256: await hashFile(join(result, "vmlinuz")),
    rootfsBytes: (await stat(rootfsPath)).size,
    modules,
    buildSeconds: Math.round((performance.now() - finished.startedMs) / 100) / 10,
  };
  await writeDurably(join(result, "manifest.json"), `${JSON.stringify(manifest, undefined, 2)}\n`);
  return manifest;
}

async function keepModules(recipe: Recipe, installed: string, target: string): Promise<RootManifest["modules"]> {
  await mkdir(target);
  const kept: RootManifest["modules"] = [];
  for (const module of await modulesInLoadOrder(installed, recipe.initrdModules)) {
    const name = `${module.name}.ko`;
    await copyFile(module.path, join(target, name));
    await syncPath(join(target, name));
    kept.push({ name, sha256: await hashFile(join(target, name)) });
  }
  return kept;
}
