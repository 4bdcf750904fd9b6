import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { lstat, mkdir, open, rename, rm, symlink } from "node:fs/promises";
import { InstaVmError } from "@instavm/contract";
import type { Files, WrittenTree } from "./files.ts";
import type { DirectoryOptions } from "./node-upload.ts";
import { tarEntries } from "./tar-read.ts";
import type { ReadTarEntry } from "./tar-read.ts";

const slash = Buffer.from("/");

/**
 * Copies all that is in a directory of the VM into one of this machine, which is made when it is missing, as one stream. Each
 * file appears whole or not at all. What comes is not trusted: nothing is written outside of the directory, and no symbolic
 * link is followed. A link that leads out of the directory, a hard link and a device are left out and counted as `skipped`.
 * Throws `bad_request` for what cannot be written.
 */
export async function downloadDirectory(
  files: Files,
  remote: { readonly from: string; readonly to: string },
  options: DirectoryOptions = {},
): Promise<WrittenTree> {
  const { type } = await files.stat(remote.from, { ...options, follow: true });
  if (type !== "directory") throw new InstaVmError("invalid", `${remote.from} is a ${type}, expected a directory.`);
  const unpacking = new Unpacking(Buffer.from(remote.to), options.onProgress);
  await writing(unpacking.root, async (root) => await mkdir(root, { recursive: true }));
  for await (const entry of tarEntries(files.readTree(remote.from, options))) await unpacking.add(entry);
  return unpacking.done;
}

class Unpacking {
  readonly root: Buffer;
  #sizeBytes = 0;
  #entries = 0;
  #skipped = 0;
  /** Of the last entry: a directory that is there, and no link on the way to it. */
  #lastParent = "";
  readonly #onProgress: ((bytes: number) => void) | undefined;

  constructor(root: Buffer, onProgress: ((bytes: number) => void) | undefined) {
    this.root = root;
    this.#onProgress = onProgress;
  }

  get done(): WrittenTree {
    return { sizeBytes: this.#sizeBytes, entries: this.#entries, skipped: this.#skipped };
  }

  async add(entry: ReadTarEntry): Promise<void> {
    const parts = partsOf(Buffer.from(entry.name));
    const name = parts.at(-1);
    // The directory itself, which is there.
    if (name === undefined) return;
    const parents = parts.slice(0, -1);
    if (!(await this.#make(entry, { path: this.#at(parts), parents }))) {
      this.#skipped += 1;
      return;
    }
    this.#entries += 1;
  }

  /** Resolves with false for what is left out. */
  async #make(
    entry: ReadTarEntry,
    place: { readonly path: Buffer; readonly parents: readonly Buffer[] },
  ): Promise<boolean> {
    const { path, parents } = place;
    if (entry.kind === "other") return false;
    if (entry.kind === "symlink" && !staysInside(Buffer.from(entry.link), parents.length)) return false;
    await this.#parent(parents);
    if (entry.kind === "directory") await directoryAt(path, entry.mode);
    else if (entry.kind === "symlink")
      await replaced(path, async (draft) => await symlink(Buffer.from(entry.link), draft));
    else await replaced(path, async (draft) => await this.#file(entry, draft));
    return true;
  }

  async #file(entry: ReadTarEntry, draft: Buffer): Promise<void> {
    await using file = await open(draft, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, entry.mode & 0o777);
    for await (const piece of entry.content) {
      await file.writeFile(piece);
      this.#sizeBytes += piece.length;
      this.#onProgress?.(this.#sizeBytes);
    }
    await file.utimes(entry.modifiedS, entry.modifiedS);
  }

  async #parent(parents: readonly Buffer[]): Promise<void> {
    const key = Buffer.concat(parents.flatMap((part) => [part, slash])).toString("latin1");
    if (key === this.#lastParent) return;
    for (const depth of parents.keys()) await directoryAt(this.#at(parents.slice(0, depth + 1)), 0o755);
    this.#lastParent = key;
  }

  #at(parts: readonly Buffer[]): Buffer {
    return Buffer.concat([this.root, ...parts.flatMap((part) => [slash, part])]);
  }
}

/** A name's parts. Throws `guest_protocol` for one that leads out of the directory. */
function partsOf(name: Buffer): readonly Buffer[] {
  const parts = split(name).filter((part) => part.length > 0 && !part.equals(Buffer.from(".")));
  const isForeign = process.platform === "win32" && /[\\:]/.test(name.toString());
  if (name[0] !== slash[0] && !name.includes(0) && !parts.some(isUp) && !isForeign) return parts;
  throw new InstaVmError(
    "guest_protocol",
    `The archive holds ${JSON.stringify(name.toString())}, which leads elsewhere.`,
  );
}

/**
 * Whether a link leads to a place below the directory, `depth` directories above it. It may go up, then down: after the first
 * way down another way up could begin anywhere.
 */
function staysInside(link: Buffer, depth: number): boolean {
  if (link.length === 0 || link[0] === slash[0] || link.includes(0)) return false;
  const parts = split(link).filter((part) => part.length > 0 && !part.equals(Buffer.from(".")));
  const down = parts.findIndex((part) => !isUp(part));
  const ups = down === -1 ? parts.length : down;
  return ups <= depth && !parts.slice(ups).some(isUp);
}

function isUp(part: Buffer): boolean {
  return part.equals(Buffer.from(".."));
}

function split(path: Buffer): readonly Buffer[] {
  return path
    .toString("latin1")
    .split("/")
    .map((part) => Buffer.from(part, "latin1"));
}

async function directoryAt(path: Buffer, mode: number): Promise<void> {
  await writing(path, async () => {
    const found = await lstat(path).catch(() => undefined);
    // Whoever unpacks can write into it.
    if (found === undefined) await mkdir(path, (mode & 0o777) | 0o700);
    else if (!found.isDirectory()) throw unwritable(path, "something else is there, and no link is followed");
  });
}

/** What `make` makes elsewhere takes the place of what is there. */
async function replaced(path: Buffer, make: (draft: Buffer) => Promise<void>): Promise<void> {
  const draft = Buffer.concat([path.subarray(0, path.lastIndexOf(slash) + 1), draftName()]);
  await writing(path, async () => {
    try {
      await make(draft);
      await rename(draft, path);
    } catch (error) {
      await rm(draft, { force: true });
      throw error;
    }
  });
}

function draftName(): Buffer {
  return Buffer.from(`.${randomBytes(6).toString("hex")}.part`);
}

/** Throws `bad_request` with the path. */
async function writing(path: Buffer, write: (path: Buffer) => Promise<unknown>): Promise<void> {
  try {
    await write(path);
  } catch (cause) {
    if (cause instanceof InstaVmError) throw cause;
    throw unwritable(path, cause instanceof Error ? cause.message : String(cause), cause);
  }
}

function unwritable(path: Buffer, why: string, cause?: unknown): InstaVmError {
  const next = "Check the path and its permissions.";
  return new InstaVmError("bad_request", `${path.toString()} cannot be written: ${why}.`, { next, cause });
}
