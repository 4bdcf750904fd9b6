import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { InstaVmError } from "@instavm/contract";
import { makeResource } from "@instavm/process";
import { draftPrefix } from "./cache-layout.ts";

/** A directory of its own that is removed unless its content was moved away. */
export async function makeDraft(parent: string): Promise<{ readonly path: string } & AsyncDisposable> {
  await mkdir(parent, { recursive: true });
  const path = await mkdtemp(join(parent, draftPrefix));
  return makeResource({ path }, () => removeTree(path));
}

/** Removes the drafts under a directory that killed processes left. The caller knows that nobody makes one now. */
export async function removeDrafts(parent: string): Promise<number> {
  const names = await readdir(parent).catch(() => []);
  const drafts = names.filter((name) => name.startsWith(draftPrefix));
  for (const name of drafts) await removeTree(join(parent, name));
  return drafts.length;
}

/**
 * Removes a directory tree. Refuses while something is mounted under it: a half-made root may have the host's /dev
 * or /proc inside, and deleting would reach through.
 */
export async function removeTree(path: string): Promise<void> {
  const mounts = await mountsUnder(path);
  if (mounts.length > 0) {
    throw new InstaVmError("conflict", `${path} cannot be removed: ${mounts.join(", ")} is still mounted.`, {
      next: `umount ${mounts.toReversed().join(" ")}`,
    });
  }
  await rm(path, { recursive: true, force: true, maxRetries: 3 });
}

async function mountsUnder(path: string): Promise<string[]> {
  const table = await readFile("/proc/self/mountinfo", "utf8").catch(() => "");
  return table
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((mount) => mount === path || mount.startsWith(`${path}/`));
}
