import { constants } from "node:fs";
import { access, mkdir, open, rename, rm, writeFile } from "node:fs/promises";
import { dirname } from "node:path";

/** Whether a file or directory is there and can be read. */
export async function isReadable(path: string): Promise<boolean> {
  try {
    await access(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}

/** Waits until a file's or directory's content is on the disk. */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes a file that must survive a crash once this resolves; its directory is synced by `publish`. */
export async function writeDurably(path: string, content: string | Uint8Array): Promise<void> {
  await writeFile(path, content, { flush: true });
}

/**
 * Makes a finished directory (or file) visible under its final name, at once and whole. What stood there
 * before is removed first: it was looked at and found unusable.
 */
export async function publish(finished: string, finalPath: string): Promise<void> {
  await syncPath(finished);
  await mkdir(dirname(finalPath), { recursive: true });
  await rm(finalPath, { recursive: true, force: true });
  await rename(finished, finalPath);
  await syncPath(dirname(finalPath));
}
