import { InstaVmError, fileChangeSchema, operations } from "@instavm/contract";
import { errorOfEvent } from "./failure.ts";
import { toFileChange, toFileEntry } from "./file-answers.ts";
import type { FileChange, FileEntry } from "./file-answers.ts";
import { bytesBody } from "./file-source.ts";
import type { FileSource } from "./file-source.ts";
import { parseJson } from "./json.ts";
import { multipartBody } from "./multipart.ts";
import type { CallOptions, Transport } from "./transport.ts";
import { vmIdOf } from "./vm-of.ts";
import type { VmOf } from "./vm-of.ts";

/** Who a file belongs to: names or numbers of the VM. */
export interface FileOwner {
  readonly user?: string;
  readonly group?: string;
}

export interface WriteFileOptions extends CallOptions, FileOwner {
  /** Permission bits as octal digits; else those of the file that is replaced, or `0644`. */
  readonly mode?: string;
  /** Throw `conflict` when there is such a file. */
  readonly mustBeNew?: boolean;
}

/** A file that was written. */
export interface WrittenFile {
  /** Absolute, inside the VM. */
  readonly path: string;
  readonly sizeBytes: number;
}

/** What was unpacked of an archive. */
export interface WrittenTree {
  readonly sizeBytes: number;
  readonly entries: number;
  /** Devices and pipes, which are not made. */
  readonly skipped: number;
}

const transferTimeoutMs = 600_000;
const watchTimeoutMs = 24 * 3600 * 1000;

/** The files of a VM. A relative path starts at the workdir. A file that does not exist throws `file_not_found`. */
export class Files {
  readonly #transport: Transport;
  readonly #of: VmOf;

  constructor(transport: Transport, of: VmOf) {
    this.#transport = transport;
    this.#of = of;
  }

  /**
   * Writes a file, whole or not at all, and the directories above it that are missing. In Node, `await openAsBlob(path)` of
   * `node:fs` sends a local file without holding it in memory. Most browsers cannot send a stream, but every Blob.
   */
  async write(path: string, content: FileSource, options: WriteFileOptions = {}): Promise<WrittenFile> {
    const { mode, user, group, mustBeNew } = options;
    const isPlain = [mode, user, group, mustBeNew].every((value) => value === undefined);
    // A session whose VM is lost gets another one for this.
    if (isPlain && "sessionId" in this.#of) return await this.#upload(this.#of.sessionId, { path, content }, options);
    const query = { path, mode, user, group, ...(mustBeNew === true ? { must_be_new: "true" as const } : {}) };
    const input = { ...(await this.#vm(options)), query, raw: bytesBody(content) };
    const written = await this.#transport.call(operations.writeFile, input, transfer(options));
    return { path: written.path, sizeBytes: written.size };
  }

  /** A file's bytes as they come; with `offset` and `length`, in bytes, only those. */
  async *stream(
    path: string,
    options: CallOptions & { readonly offset?: number; readonly length?: number } = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { offset = 0, length } = options;
    const isWhole = offset === 0 && length === undefined;
    const range = isWhole ? {} : { range: `bytes=${offset}-${length === undefined ? "" : offset + length - 1}` };
    const input = { ...(await this.#vm(options)), query: { path }, ...range };
    yield* this.#transport.bytes(operations.readFile, input, transfer(options));
  }

  /** A file as a Blob, to be saved or shown. */
  async download(path: string, options: CallOptions = {}): Promise<Blob> {
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    for await (const piece of this.stream(path, options)) pieces.push(new Uint8Array(piece));
    return new Blob(pieces);
  }

  /** A file's bytes. */
  async readBytes(path: string, options: CallOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(await (await this.download(path, options)).arrayBuffer());
  }

  /** A file's text. Throws `guest_failure` when its bytes are no UTF-8. */
  async read(path: string, options: CallOptions = {}): Promise<string> {
    const bytes = await this.readBytes(path, options);
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch (cause) {
      const next = "Read it with readBytes.";
      throw new InstaVmError("guest_failure", `The file ${path} is no UTF-8 text.`, { next, cause });
    }
  }

  /** The same as `write`. */
  async upload(path: string, content: FileSource, options: WriteFileOptions = {}): Promise<WrittenFile> {
    return await this.write(path, content, options);
  }

  /** Describes a file; of a symbolic link the link, unless `follow` is set. */
  async stat(path: string, options: CallOptions & { readonly follow?: boolean } = {}): Promise<FileEntry> {
    const query = { path, ...(options.follow === true ? { follow: "true" as const } : {}) };
    const input = { ...(await this.#vm(options)), query };
    return toFileEntry(await this.#transport.call(operations.statFile, input, options));
  }

  /** All that is in a directory, sorted by the bytes of the names. */
  async list(path: string, options: CallOptions = {}): Promise<readonly FileEntry[]> {
    const vm = await this.#vm(options);
    const entries: FileEntry[] = [];
    for (;;) {
      const query = { path, after: entries.at(-1)?.name };
      const page = await this.#transport.call(operations.listFiles, { ...vm, query }, options);
      entries.push(...page.entries.map(toFileEntry));
      if (!page.has_more || page.entries.length === 0) return entries;
    }
  }

  /** Makes a directory and those above it; one that is there already will do. */
  async makeDirectory(
    path: string,
    options: CallOptions & FileOwner & { readonly mode?: string } = {},
  ): Promise<FileEntry> {
    const { mode, user, group } = options;
    const input = { ...(await this.#vm(options)), body: { path, mode, user, group } };
    return toFileEntry(await this.#transport.call(operations.makeDirectory, input, options));
  }

  /** Moves or renames. Something at the new place throws `conflict`, unless `overwrite` is set. */
  async move(
    from: string,
    to: string,
    options: CallOptions & { readonly overwrite?: boolean } = {},
  ): Promise<FileEntry> {
    const input = { ...(await this.#vm(options)), body: { from, to, overwrite: options.overwrite } };
    return toFileEntry(await this.#transport.call(operations.moveFile, input, options));
  }

  /** Removes a file, a link or an empty directory; with `recursive` any directory. Resolves with how many were removed. */
  async remove(path: string, options: CallOptions & { readonly recursive?: boolean } = {}): Promise<number> {
    const query = { path, ...(options.recursive === true ? { recursive: "true" as const } : {}) };
    const input = { ...(await this.#vm(options)), query };
    return (await this.#transport.call(operations.removeFile, input, options)).removed;
  }

  /** Changes a file's mode or owner. */
  async change(
    path: string,
    changes: FileOwner & { readonly mode?: string },
    options: CallOptions = {},
  ): Promise<FileEntry> {
    const input = { ...(await this.#vm(options)), query: { path }, body: changes };
    return toFileEntry(await this.#transport.call(operations.changeFile, input, options));
  }

  /** A directory or a file as a tar archive, as it comes. */
  async *readTree(path: string, options: CallOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
    const input = { ...(await this.#vm(options)), query: { path } };
    yield* this.#transport.bytes(operations.readTree, input, transfer(options));
  }

  /** Unpacks a tar archive into a directory, which is made when it is missing. */
  async writeTree(path: string, archive: FileSource, options: CallOptions & FileOwner = {}): Promise<WrittenTree> {
    const { user, group } = options;
    const input = { ...(await this.#vm(options)), query: { path, user, group }, raw: bytesBody(archive) };
    const { size, entries, skipped } = await this.#transport.call(operations.writeTree, input, transfer(options));
    return { sizeBytes: size, entries, skipped };
  }

  /** What changes in a directory, `ready` first, until the loop is left, the signal fires or `timeoutMs`, by default a day, has passed. */
  async *watch(
    path: string,
    options: CallOptions & { readonly recursive?: boolean } = {},
  ): AsyncGenerator<FileChange, void, undefined> {
    const query = { path, ...(options.recursive === true ? { recursive: "true" as const } : {}) };
    const input = { ...(await this.#vm(options)), query };
    const events = this.#transport.events(operations.watchFiles, input, { timeoutMs: watchTimeoutMs, ...options });
    for await (const { event, data } of events) {
      if (event === "error") throw errorOfEvent(data);
      const change = fileChangeSchema.safeParse(parseJson(data));
      // What a newer server says is passed over.
      if (change.success) yield toFileChange(change.data);
    }
  }

  async #upload(
    sessionId: string,
    file: { readonly path: string; readonly content: FileSource },
    options: CallOptions,
  ): Promise<WrittenFile> {
    const raw = multipartBody({ session_id: sessionId, remote_path: file.path, recursive: "true" }, file.content);
    const written = await this.#transport.call(operations.upload, { raw }, transfer(options));
    return { path: written.path, sizeBytes: written.size };
  }

  async #vm(options: CallOptions): Promise<{ readonly params: { readonly vm_id: string } }> {
    return { params: { vm_id: await vmIdOf(this.#transport, this.#of, options) } };
  }
}

function transfer(options: CallOptions): CallOptions {
  return { timeoutMs: transferTimeoutMs, ...options };
}
