import { InstaVmError } from "@instavm/contract";
import type {
  Caller,
  DirectoryPage,
  FileEntry,
  FileEvent,
  Files,
  MoveRequest,
  OpenedFile,
  ReadRequest,
  Waiting,
  WriteRequest,
  WriteTreeRequest,
  WrittenFile,
  WrittenTree,
} from "@instavm/core";

/** Files without VMs: kept in memory by their path; what is asked beside reading and writing is noted. */
export class MemoryFiles implements Files {
  readonly contents = new Map<string, Uint8Array>();
  /** Calls but for read and write, with what they were asked. */
  readonly asked: { readonly call: string; readonly request: unknown }[] = [];
  /** Bytes that were taken from clients, also of files that never became whole. */
  takenBytes = 0;
  /** Why writes ended that did not come to a file. */
  readonly brokenWrites: unknown[] = [];
  /** Files that were opened and are neither read to the end nor left. */
  openReads = 0;
  /** What a watch tells. */
  changes: readonly FileEvent[] = [{ type: "ready" }];
  /** Awaited before each piece is taken or given. */
  pace: () => Promise<void> = async () => undefined;

  async read(_caller: Caller, request: ReadRequest): Promise<OpenedFile> {
    const content = this.#content(request.path);
    const { offset = 0, length = content.length } = request;
    this.openReads += 1;
    return {
      entry: entryOf(request.path, content),
      content: this.#pieces(content.subarray(offset, offset + length)),
      cancel: () => (this.openReads -= 1),
    };
  }

  async write(_caller: Caller, request: WriteRequest, waiting?: Waiting): Promise<WrittenFile> {
    const { vm: _, path, content: source, limitBytes: __, ...options } = request;
    this.asked.push({ call: "write", request: options });
    const content = await this.#take(source, waiting?.signal);
    this.contents.set(path, content);
    return { path: `/root/${path}`, bytes: content.length };
  }

  async stat(_caller: Caller, request: { readonly path: string; readonly follow: boolean }): Promise<FileEntry> {
    this.asked.push({ call: "stat", request });
    return entryOf(request.path, this.#content(request.path));
  }

  async list(_caller: Caller, request: { readonly path: string }): Promise<DirectoryPage> {
    this.asked.push({ call: "list", request });
    return { entries: [...this.contents].map(([path, content]) => entryOf(path, content)), hasMore: true };
  }

  async makeDirectory(_caller: Caller, request: { readonly path: string }): Promise<FileEntry> {
    this.asked.push({ call: "makeDirectory", request });
    return { ...entryOf(request.path, new Uint8Array()), type: "directory", mode: 0o755 };
  }

  async move(_caller: Caller, request: MoveRequest): Promise<FileEntry> {
    this.asked.push({ call: "move", request });
    return entryOf(request.to, this.#content(request.from));
  }

  async remove(_caller: Caller, request: { readonly path: string }): Promise<number> {
    this.asked.push({ call: "remove", request });
    return Number(this.contents.delete(request.path));
  }

  async change(_caller: Caller, request: { readonly path: string; readonly mode?: number }): Promise<FileEntry> {
    this.asked.push({ call: "change", request });
    return { ...entryOf(request.path, this.#content(request.path)), mode: request.mode ?? 0o644 };
  }

  async readTree(_caller: Caller, request: { readonly path: string }): Promise<AsyncIterable<Uint8Array>> {
    return this.#pieces(this.#content(request.path));
  }

  async writeTree(_caller: Caller, request: WriteTreeRequest, waiting?: Waiting): Promise<WrittenTree> {
    const { content, ...rest } = request;
    this.asked.push({ call: "writeTree", request: rest });
    return { bytes: (await this.#take(content, waiting?.signal)).length, entries: 3, skipped: 1 };
  }

  async watch(): Promise<AsyncIterable<FileEvent>> {
    const { changes } = this;
    return (async function* () {
      yield* changes;
    })();
  }

  #content(path: string): Uint8Array {
    const content = this.contents.get(path);
    if (content === undefined) throw new InstaVmError("file_not_found", `read file: ${path} does not exist`);
    return content;
  }

  async #take(content: AsyncIterable<Uint8Array>, signal: AbortSignal | undefined): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    try {
      for await (const piece of content) {
        await this.pace();
        signal?.throwIfAborted();
        this.takenBytes += piece.length;
        pieces.push(Uint8Array.from(piece));
      }
      return Buffer.concat(pieces);
    } catch (error) {
      this.brokenWrites.push(error);
      throw error;
    }
  }

  async *#pieces(content: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (let at = 0; at < content.length; at += 65_536) {
        await this.pace();
        yield content.subarray(at, at + 65_536);
      }
    } finally {
      this.openReads -= 1;
    }
  }
}

function entryOf(path: string, content: Uint8Array): FileEntry {
  return {
    name: path.split("/").at(-1) ?? "",
    rawName: undefined,
    type: "file",
    sizeBytes: content.length,
    mode: 0o640,
    uid: 0,
    gid: 7,
    user: "root",
    group: undefined,
    modifiedMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
    linkTarget: undefined,
  };
}
