import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { InstaVmError } from "@instavm/contract";
import type { BootFiles } from "@instavm/core";
import { z } from "zod";

/** What a test boots from. */
export interface TestImage {
  readonly boot: BootFiles;
  readonly blankDiskPath: string;
}

const namedSchema = z.object({
  kernelPath: z.string(),
  initrdPath: z.string(),
  rootfsPath: z.string(),
  blankDiskPath: z.string(),
});

/** Where the base image is built to, unless the tests are told otherwise. */
const cacheDirectory = "/var/cache/instavm";

/**
 * The base image: what the variable INSTAVM_TEST_BOOT_FILES names (JSON), else the newest in the cache. This package
 * must not know the one that builds it.
 */
export async function findTestImage(): Promise<TestImage> {
  const named = process.env["INSTAVM_TEST_BOOT_FILES"];
  const paths = named === undefined ? await newestInCache() : namedSchema.parse(JSON.parse(named));
  const { blankDiskPath, ...boot } = paths;
  return { boot, blankDiskPath };
}

async function newestInCache(): Promise<z.infer<typeof namedSchema>> {
  const [image, boot, disk] = await Promise.all(["images", "boot", "disks"].map(newestDirectory));
  if (image === undefined || boot === undefined || disk === undefined) {
    throw new InstaVmError("image_missing", `There is no base image in ${cacheDirectory}.`);
  }
  return {
    kernelPath: join(image, "vmlinuz"),
    rootfsPath: join(image, "rootfs.erofs"),
    initrdPath: join(boot, "initrd"),
    blankDiskPath: join(disk, "blank.ext4"),
  };
}

async function newestDirectory(kind: string): Promise<string | undefined> {
  const parent = join(cacheDirectory, kind);
  const names = await readdir(parent).catch(() => []);
  const finished = names.filter((name) => /^[0-9a-f]{64}$/.test(name)).map((name) => join(parent, name));
  const changed = await Promise.all(finished.map(async (path) => ({ path, atMs: (await stat(path)).mtimeMs })));
  return changed.toSorted((a, b) => b.atMs - a.atMs)[0]?.path;
}
