import { constants } from "node:fs";
import type { Stats } from "node:fs";
import { lstat, open, readdir, readlink, stat } from "node:fs/promises";
import { InstaVmError } from "@instavm/contract";
import type { FileOwner, Files, WrittenTree } from "./files.ts";
import { paddingBytes } from "./tar-format.ts";
import { tarEnd, tarHeader } from "./tar-write.ts";
import type { CallOptions } from "./transport.ts";

/** What copies of directories take besides. */
export interface DirectoryOptions extends CallOptions {
  /** Called with all bytes of files' content so far. */
  readonly onProgress?: (bytes: number) => void;
}

const slash = Buffer.from("/");
const pieceBytes = 256 * 1024;

/**
 * Copies all that is in a directory of this machine into one of the VM, which is made when it is missing, as one stream.
 * Symbolic links stay links; sockets, pipes and devices are left out and counted as `skipped`. Throws `bad_request` for what
 * cannot be read.
 */
export async function uploadDirectory(
  files: Files,
  local: { readonly from: string; readonly to: string },
  options: DirectoryOptions & FileOwner = {},
): Promise<WrittenTree> {
  const walk = new Walk(options.onProgress);
  const from = Buffer.from(local.from);
  if (!(await described(async (at) => await stat(at), from)).isDirectory())
    throw unreadable(from, "it is no directory");
  const pieces = walk.archive(from);
  try {
    const written = await files.writeTree(local.to, streamOf(pieces), options);
    return { ...written, skipped: written.skipped + walk.skipped };
  } catch (error) {
    throw walk.failure ?? error;
  } finally {
    await pieces.return();
  }
}

/** As it is read, and no faster. */
function streamOf(pieces: AsyncGenerator<Uint8Array, void, undefined>): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      const { done, value } = await pieces.next();
      if (done === true) controller.close();
      else controller.enqueue(value);
    },
  });
}

/** One way through a directory. */
class Walk {
  skipped = 0;
  /** Why it did not come to its end; the request that it was for says only that it broke. */
  failure: unknown;
  #bytes = 0;
  readonly #onProgress: ((bytes: number) => void) | undefined;

  constructor(onProgress: ((bytes: number) => void) | undefined) {
    this.#onProgress = onProgress;
  }

  async *archive(directory: Buffer): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      yield* this.#directory(directory, Buffer.alloc(0));
      yield tarEnd();
    } catch (error) {
      this.failure = error;
      throw error;
    }
  }

  async *#directory(directory: Buffer, prefix: Buffer): AsyncGenerator<Uint8Array, void, undefined> {
    const names = await described(async (path) => await readdir(path, { encoding: "buffer" }), directory);
    for (const name of names.toSorted((a, b) => a.compare(b))) {
      const path = Buffer.concat([directory, slash, name]);
      const inArchive = Buffer.concat([prefix, name]);
      const found = await described(async (at) => await lstat(at), path);
      if (found.isDirectory()) {
        const own = Buffer.concat([inArchive, slash]);
        yield tarHeader({ ...aboutOf(found), name: own, kind: "directory" });
        yield* this.#directory(path, own);
      } else if (found.isSymbolicLink()) {
        const link = await described(async (at) => await readlink(at, { encoding: "buffer" }), path);
        yield tarHeader({ ...aboutOf(found), name: inArchive, kind: "symlink", link });
      } else if (found.isFile()) {
        yield* this.#file(path, inArchive);
      } else {
        this.skipped += 1;
      }
    }
  }

  async *#file(path: Buffer, name: Buffer): AsyncGenerator<Uint8Array, void, undefined> {
    await using file = await described(
      async (at) => await open(at, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK),
      path,
    );
    const found = await file.stat();
    if (!found.isFile()) throw unreadable(path, "it has become something else meanwhile");
    yield tarHeader({ ...aboutOf(found), name, kind: "file", sizeBytes: found.size });
    for (let left = found.size; left > 0;) {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(Math.min(left, pieceBytes)));
      if (bytesRead === 0) throw unreadable(path, "it became shorter while it was read");
      left -= bytesRead;
      this.#bytes += bytesRead;
      yield buffer.subarray(0, bytesRead);
      this.#onProgress?.(this.#bytes);
    }
    yield new Uint8Array(paddingBytes(found.size));
  }
}

function aboutOf({ mode, mtimeMs }: Stats) {
  return { mode: mode & 0o7777, modifiedS: mtimeMs / 1000, sizeBytes: 0, link: new Uint8Array() };
}

/** Throws `bad_request` with the path. */
async function described<Value>(look: (path: Buffer) => Promise<Value>, path: Buffer): Promise<Value> {
  try {
    return await look(path);
  } catch (cause) {
    throw unreadable(path, cause instanceof Error ? cause.message : String(cause), cause);
  }
}

function unreadable(path: Buffer, why: string, cause?: unknown): InstaVmError {
  const next = "Check the path and its permissions.";
  return new InstaVmError("bad_request", `${path.toString()} cannot be read: ${why}.`, { next, cause });
}
