import { chmod, open } from "node:fs/promises";
import { join } from "node:path";
import type { CacheLayout } from "./cache-layout.ts";
import { hashOf } from "./content-hash.ts";
import { makeDraft } from "./drafts.ts";
import { isReadable, publish, syncPath, writeDurably } from "./durable-files.ts";
import { runTool } from "./tool-run.ts";

/** How large a VM's own disk is, in GiB, unless it is told otherwise. */
export const defaultDiskGib = 8;

const diskUuid = "696e7374-6176-6d2d-8000-6469736b0000";
const features = [
  "-t",
  "ext4",
  // The file is new, so all of it is zeros: nothing needs to be wiped, and the guest's kernel has no lazy work left.
  "-E",
  `discard,lazy_itable_init=0,hash_seed=${diskUuid}`,
  // The disk lives no longer than its VM's memory, so there is never anything to replay. And a journal that meets a
  // full host disk aborts: the disk is read-only from then on, and who writes hangs on pages that nobody can clean.
  // And a VM's disk never grows: the 4 MiB that are reserved for that would be copied with every fork.
  "-O",
  "^has_journal,^resize_inode",
  // A write that fails is an error of its writer; the next one may succeed.
  "-e",
  "continue",
  "-m",
  "0",
  "-U",
  diskUuid,
  "-L",
  "instavm",
];

/** An empty, formatted disk. Sparse: it takes a few MiB. */
export interface BlankDisk {
  readonly path: string;
  /** Equal digests = interchangeable disks. */
  readonly digest: string;
}

/** The blank disk of a size: the one in the cache, or a new one. */
export async function ensureBlankDisk(layout: CacheLayout, sizeGib: number, signal?: AbortSignal): Promise<BlankDisk> {
  const digest = hashOf(["1", String(sizeGib), ...features]);
  const directory = join(layout.disks, digest);
  const path = join(directory, "blank.ext4");
  // The directory appears whole: what is in it is complete.
  if (await isReadable(path)) return { path, digest };
  await using draft = await makeDraft(layout.disks);
  const result = join(draft.path, "blank.ext4");
  const file = await open(result, "wx", 0o600);
  await file.truncate(sizeGib * 1024 ** 3);
  await file.close();
  await runTool(["mke2fs", "-q", "-F", ...features, result], { timeoutMs: 120_000, signal });
  await syncPath(result);
  await writeDurably(join(draft.path, "about.json"), `${JSON.stringify({ sizeGib, features })}\n`);
  await chmod(draft.path, 0o755);
  await publish(draft.path, directory);
  return { path, digest };
}
