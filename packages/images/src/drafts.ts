import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { InstaVmError } from "@instavm/contract";
import { makeResource } from "@instavm/process";
import { draftPrefix } from "./cache-layout.ts";

/** A directory of its own, named after this process, that is removed unless its content was moved away. */
export async function makeDraft(parent: string): Promise<{ readonly path: string } & AsyncDisposable> {
  await mkdir(parent, { recursive: true });
  const startTicks = await startTicksOf(process.pid);
  const path = await mkdtemp(join(parent, `${draftPrefix}${process.pid}-${startTicks ?? 0}-`));
  return makeResource({ path }, () => removeTree(path));
}

/** Removes the drafts under a directory whose makers run no more; those of other servers on one cache stay. */
export async function removeAbandonedDrafts(parent: string): Promise<number> {
  const names = await readdir(parent).catch(() => []);
  let removed = 0;
  for (const name of names) {
    if (!name.startsWith(draftPrefix) || (await makerRuns(name))) continue;
    await removeTree(join(parent, name));
    removed += 1;
  }
  return removed;
}

/** A process id is used again some day; with its start time it names one process for ever. */
async function makerRuns(draftName: string): Promise<boolean> {
  const [, pid, startTicks] = /^(\d+)-(\d+)-/.exec(draftName.slice(draftPrefix.length)) ?? [];
  return pid !== undefined && (await startTicksOf(Number(pid))) === startTicks;
}

/** Field 22 of /proc/<pid>/stat; undefined when there is no such process. */
async function startTicksOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
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
