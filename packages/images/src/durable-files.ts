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
 * Makes a finished directory (or file) visible under its final name, at once and whole. What stood there before was
 * looked at and found unusable: it is moved away as a whole, so that nobody finds a half of it, and removed. When
 * another process has published a directory of that name meanwhile, that one stays, and the finished one where it is.
 */
export async function publish(finished: string, finalPath: string): Promise<void> {
  await syncPath(finished);
  await mkdir(dirname(finalPath), { recursive: true });
  const unusable = `${finished}.replaced`;
  const wasThere = await rename(finalPath, unusable).then(
    () => true,
    (error: unknown) => {
      if (isCode(error, "ENOENT")) return false;
      throw error;
    },
  );
  try {
    await rename(finished, finalPath);
  } catch (error) {
    if (!isCode(error, "ENOTEMPTY") && !isCode(error, "EEXIST")) throw error;
  } finally {
    if (wasThere) await rm(unusable, { recursive: true, force: true });
  }
  await syncPath(dirname(finalPath));
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
