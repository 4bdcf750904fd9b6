import { chmod, mkdir, statfs } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { InstaVmError } from "@instavm/contract";

/** Less than this and the server does not start, in bytes: a template of the default shape alone needs as much. */
export const leastFreeBytes = 768 * 1024 * 1024;

/** A state directory that belongs to this server until it is disposed of or the process ends. */
export interface StateDirectory extends Disposable {
  readonly path: string;
  readonly recordsPath: string;
  readonly adminKeyPath: string;
}

/** Makes the directory (mode 0700) where it is missing and locks it. Throws `conflict` when another server uses it. */
export async function openStateDirectory(path: string): Promise<StateDirectory> {
  await makeDirectory(path);
  await requireFreeSpace(path);
  const lock = takeLock(path);
  return {
    path,
    recordsPath: join(path, "records.db"),
    adminKeyPath: join(path, "admin-key"),
    [Symbol.dispose]: () => lock.close(),
  };
}

/** Free bytes of the filesystem that a path is on. */
export async function freeBytes(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}

async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    await chmod(path, 0o700);
  } catch (cause) {
    throw new InstaVmError("host_setup", `The state directory ${path} cannot be made: ${reasonOf(cause)}.`, {
      next: "Run the server as root, or choose another directory with --state-dir.",
      cause,
    });
  }
}

async function requireFreeSpace(path: string): Promise<void> {
  const free = await freeBytes(path);
  if (free >= leastFreeBytes) return;
  const [seen, expected] = [free, leastFreeBytes].map((bytes) => `${Math.floor(bytes / 2 ** 20)} MiB`);
  throw new InstaVmError("disk_full", `The filesystem of ${path} has ${seen} free; at least ${expected} are needed.`, {
    next: "Free disk space, or choose a directory on another filesystem with --state-dir.",
  });
}

/** A lock that the kernel gives back when the process ends in whatever way: SQLite's own, on an empty database. */
function takeLock(path: string): DatabaseSync {
  let lock: DatabaseSync | undefined;
  try {
    lock = new DatabaseSync(join(path, "server.lock"));
    lock.exec("pragma locking_mode = exclusive; begin exclusive");
    return lock;
  } catch (cause) {
    lock?.close();
    if (cause instanceof Error && "errcode" in cause && cause.errcode === sqliteBusy) {
      throw new InstaVmError("conflict", `Another server uses the state directory ${path}.`, {
        next: "Stop it, or choose another directory with --state-dir.",
        cause,
      });
    }
    throw new InstaVmError("host_setup", `The state directory ${path} cannot be locked: ${reasonOf(cause)}.`, {
      cause,
    });
  }
}

const sqliteBusy = 5;

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
