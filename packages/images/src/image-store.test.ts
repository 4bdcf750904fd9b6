import { readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { failureOf, runCommand } from "@instavm/process";
import { expect, test } from "vitest";
import { loadRecipe } from "./base-recipe.ts";
import { openImageStore } from "./image-store.ts";
import { fakeRootFilesystem, tinyRecipe } from "./testing/fake-root.ts";
import { readCpio } from "./testing/read-cpio.ts";
import { scratch } from "./testing/scratch.ts";

async function prepared(directory: string): Promise<Parameters<typeof openImageStore>[0]> {
  const recipe = await tinyRecipe(directory);
  await fakeRootFilesystem(directory, recipe);
  const agentPath = join(directory, "agent");
  await writeFile(agentPath, "agent 1");
  return { cacheDirectory: directory, agentPath, recipe, diskGib: 1 };
}

test("a built root filesystem becomes an image: the initrd and the disk are made on the way", async () => {
  await using place = await scratch();
  const image = await openImageStore(await prepared(place.path)).base();
  expect(image.name).toBe("tiny");
  expect(await readFile(image.boot.rootfsPath, "utf8")).toBe("root");
  expect(await readFile(image.boot.kernelPath, "utf8")).toBe("kernel");
  const entries = readCpio(await readFile(image.boot.initrdPath));
  expect(entries.map((entry) => entry.path)).toEqual([
    "dev",
    "dev/console",
    "modules",
    "modules/load",
    "modules/second.ko",
    "modules/first.ko",
    "init",
  ]);
  const text = (path: string): string =>
    Buffer.from(entries.find((entry) => entry.path === path)?.data ?? []).toString();
  expect(text("modules/load")).toBe("second.ko\nfirst.ko\n");
  expect(text("init")).toBe("agent 1");
  expect(entries.at(-1)?.mode).toBe(0o100755);
});

test("the empty disk is sparse, clean, and leaves no lazy work to the guest", async () => {
  await using place = await scratch();
  const { blankDiskPath } = await openImageStore(await prepared(place.path)).base();
  const { size, blocks } = await stat(blankDiskPath);
  expect(size).toBe(1024 ** 3);
  expect(blocks * 512).toBeLessThan(16 * 1024 ** 2);
  const checked = await runCommand(["/usr/sbin/e2fsck", "-fn", blankDiskPath], { timeoutMs: 20_000 });
  expect(failureOf("e2fsck", checked)).toBeUndefined();
  const described = await runCommand(["/usr/sbin/dumpe2fs", blankDiskPath], { timeoutMs: 20_000 });
  const groups = described.stdout.match(/^Group \d+:.*$/gm) ?? [];
  expect(groups).not.toHaveLength(0);
  expect(groups.filter((group) => !group.includes("ITABLE_ZEROED"))).toEqual([]);
  expect(described.stdout).not.toContain("has_journal");
  expect(described.stdout).toMatch(/^Errors behavior: +Continue$/m);
});

test("another agent is another image, with a new initrd and nothing else", async () => {
  await using place = await scratch();
  const options = await prepared(place.path);
  const first = await openImageStore(options).base();
  const again = await openImageStore(options).base();
  expect(again).toEqual(first);
  await writeFile(options.agentPath, "agent 2");
  const second = await openImageStore(options).base();
  expect(second.digest).not.toBe(first.digest);
  expect(second.boot.initrdPath).not.toBe(first.boot.initrdPath);
  expect(second.boot.rootfsPath).toBe(first.boot.rootfsPath);
  expect(second.blankDiskPath).toBe(first.blankDiskPath);
  expect(await readdir(join(place.path, "boot"))).toHaveLength(2);
});

test("an image that was not built, or whose files are not all there, is missing", async () => {
  await using place = await scratch();
  const options = await prepared(place.path);
  const { digest } = await loadRecipe(options.recipe);
  await rm(join(place.path, "images", digest, "modules/first.ko"));
  await expect(openImageStore(options).base()).rejects.toMatchObject({
    code: "image_missing",
    message: expect.stringContaining(digest.slice(0, 12)),
  });
  await writeFile(join(place.path, "images", digest, "modules/first.ko"), "first!");
  expect((await openImageStore(options).base()).name).toBe("tiny");
});

test("any change of the recipe asks for another image", async () => {
  await using place = await scratch();
  const options = await prepared(place.path);
  const before = (await loadRecipe(options.recipe)).digest;
  await writeFile(join(place.path, "recipe/customize.sh"), "#!/bin/sh\nexit 0\n");
  expect((await loadRecipe(options.recipe)).digest).not.toBe(before);
  await expect(openImageStore(options).base()).rejects.toMatchObject({ code: "image_missing" });
});

test("a missing agent is named", async () => {
  await using place = await scratch();
  const options = await prepared(place.path);
  await rm(options.agentPath);
  await expect(openImageStore(options).base()).rejects.toMatchObject({
    code: "image_missing",
    message: expect.stringContaining(options.agentPath),
  });
});

test("the recipe of this repository can be read", async () => {
  const recipe = await loadRecipe();
  expect(recipe.name).toBe("base");
  expect(recipe.packages).toContain("ripgrep");
  expect(recipe.digest).toMatch(/^[0-9a-f]{64}$/);
});
