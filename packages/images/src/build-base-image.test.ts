import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { buildBaseImage } from "./build-base-image.ts";
import { openImageStore } from "./image-store.ts";
import { tinyRecipe } from "./testing/fake-root.ts";
import { scratch } from "./testing/scratch.ts";

/** mmdebstrap fetches package lists first. */
const slow = { timeout: 600_000 };

test("a tiny image is built once, and then found", slow, async () => {
  await using place = await scratch();
  const recipe = await tinyRecipe(place.path);
  const agentPath = join(place.path, "agent");
  await writeFile(agentPath, "agent");
  const steps: string[] = [];
  const options = { cacheDirectory: join(place.path, "cache"), agentPath, recipe, diskGib: 1 };
  // Side by side: one builds, the other waits and finds.
  const [first, second] = await Promise.all([
    buildBaseImage({ ...options, onProgress: (progress) => steps.push(progress.step) }),
    buildBaseImage(options),
  ]);
  expect(first.rootWasBuilt).not.toBe(second.rootWasBuilt);
  expect({ ...second, rootWasBuilt: true }).toEqual({ ...first, rootWasBuilt: true });
  expect(steps.at(-1)).toBe("image ready");
  const superblock = (await readFile(first.rootfsPath)).readUInt32LE(1024);
  expect(superblock.toString(16)).toBe("e0f5e1e2");
  const image = await openImageStore(options).base();
  expect(image.boot.rootfsPath).toBe(first.rootfsPath);
  expect(image.boot.initrdPath).toBe(first.initrdPath);
  expect((await readdir(join(place.path, "cache/images"))).filter((name) => name.startsWith("."))).toEqual([]);
});

test("a build that is stopped leaves nothing", slow, async () => {
  await using place = await scratch();
  const recipe = await tinyRecipe(place.path);
  const stop = new AbortController();
  const cacheDirectory = join(place.path, "cache");
  const building = buildBaseImage({
    cacheDirectory,
    recipe,
    signal: stop.signal,
    onProgress: (progress) => {
      if (progress.step === "fetch packages") stop.abort(new Error("stopped by the test"));
    },
  });
  await expect(building).rejects.toThrow("stopped by the test");
  expect(await readdir(join(cacheDirectory, "images"))).toEqual([]);
  expect(await readFile("/proc/self/mountinfo", "utf8")).not.toContain(place.path);
});

test("what a killed build left is removed by the next one, and a failure says what the tool said", slow, async () => {
  await using place = await scratch();
  const recipe = await tinyRecipe(place.path);
  const path = join(recipe.directory, "recipe.json");
  await writeFile(path, (await readFile(path, "utf8")).replace('"bookworm"', '"nosuchsuite"'));
  const cacheDirectory = join(place.path, "cache");
  await mkdir(join(cacheDirectory, "images/.draft-killed/root/proc"), { recursive: true });
  await expect(buildBaseImage({ cacheDirectory, recipe })).rejects.toMatchObject({
    name: "InstaVmError",
    message: expect.stringContaining("nosuchsuite"),
  });
  expect(await readdir(join(cacheDirectory, "images"))).toEqual([]);
});
