import type {
  AgentFiles,
  DirectoryPage,
  FileEntry,
  FileEvent,
  FileOwner,
  GuestPath,
  OpenedFile,
  Waiting,
  WriteFileOptions,
  WriteTreeOptions,
} from "@instavm/core";
import { toNumber } from "./answers.ts";
import { sendContent } from "./call-input.ts";
import type { Calls, CallShape, ReadOutcome } from "./calls.ts";
import { readEntry } from "./file-answers.ts";
import {
  announcedFileCall,
  changeCall,
  listCall,
  makeDirectoryCall,
  mostEntries,
  ownedFileCall,
  writeTreeCall,
} from "./file-requests.ts";
import { pathBytes, readPath } from "./guest-path.ts";
import { type GuestStream, readerLeftError } from "./guest-stream.ts";
import type { OpenCall } from "./requests.ts";

/** A directory may be large, a tree larger, and a busy VM slow. */
const listTimeoutMs = 30_000;
const treeTimeoutMs = 60_000;
/** Entries and events are larger in memory than on the wire, so fewer of them may wait. */
const eventWindowBytes = 65_536;

const fileTopic = { topic: "file", inputFollows: false } as const;

/** The files of the VM behind one session. */
export class LinkedFiles implements AgentFiles {
  readonly #calls: Calls;

  constructor(calls: Calls) {
    this.#calls = calls;
  }

  async stat(path: GuestPath, options: Waiting & { readonly follow?: boolean } = {}): Promise<FileEntry> {
    const { follow = false, ...waiting } = options;
    return this.#entry({ case: "statFile", value: { path: pathBytes(path), follow } }, "stat file", waiting);
  }

  async list(
    path: GuestPath,
    options: Waiting & { readonly after?: GuestPath; readonly limit?: number } = {},
  ): Promise<DirectoryPage> {
    const { after, limit = mostEntries, ...waiting } = options;
    const shape: CallShape = {
      subject: "list directory",
      accepts: ["entry"],
      windowBytes: eventWindowBytes,
      ...fileTopic,
    };
    const stream = this.#calls.open(listCall(path, { after, limit }), shape, { timeoutMs: listTimeoutMs, ...waiting });
    const ended = this.#calls.ended(stream, shape, (outcome) =>
      outcome.case === "directoryListed" ? outcome.value : undefined,
    );
    const entries = await this.#readPage(stream, { after, limit });
    const { hasMore } = await ended;
    if (hasMore && entries.length === 0) return { entries, hasMore: false };
    return { entries, hasMore };
  }

  async makeDirectory(
    path: GuestPath,
    options: Waiting & { readonly makeParents?: boolean; readonly mode?: number; readonly owner?: FileOwner } = {},
  ): Promise<FileEntry> {
    return this.#entry(makeDirectoryCall(path, options), "make directory", waitingOf(options));
  }

  async move(
    from: GuestPath,
    to: GuestPath,
    options: Waiting & { readonly overwrite?: boolean; readonly makeParents?: boolean } = {},
  ): Promise<FileEntry> {
    const { overwrite = false, makeParents = false, ...waiting } = options;
    const value = { from: pathBytes(from), to: pathBytes(to), overwrite, makeParents };
    return this.#entry({ case: "moveFile", value }, "move file", { timeoutMs: treeTimeoutMs, ...waiting });
  }

  async remove(path: GuestPath, options: Waiting & { readonly recursive?: boolean } = {}): Promise<number> {
    const { recursive = false, ...waiting } = options;
    const of = { subject: "remove file", topic: "file", waiting: { timeoutMs: treeTimeoutMs, ...waiting } } as const;
    return this.#calls.ask({ case: "removeFile", value: { path: pathBytes(path), recursive } }, of, (outcome) =>
      outcome.case === "fileRemoved" ? toNumber(outcome.value.entries) : undefined,
    );
  }

  async change(
    path: GuestPath,
    options: Waiting & { readonly mode?: number; readonly owner?: FileOwner },
  ): Promise<FileEntry> {
    return this.#entry(changeCall(path, options), "change file", waitingOf(options));
  }

  async read(
    path: GuestPath,
    options: Waiting & { readonly offset?: number; readonly length?: number } = {},
  ): Promise<OpenedFile> {
    const { offset = 0, length = 0 } = options;
    const shape: CallShape = { subject: "read file", accepts: ["entry", "data"], ...fileTopic };
    const stream = this.#calls.open(announcedFileCall(path, { offset, length }), shape, options);
    const ended = this.#calls.ended(stream, shape, (outcome) =>
      outcome.case === "fileRead" ? toNumber(outcome.value.bytes) : undefined,
    );
    const first = await stream.read();
    if (first === undefined) await ended;
    if (first?.event.type !== "entry") throw this.#calls.violated("the content of a file before the file");
    const most = length === 0 ? Number.POSITIVE_INFINITY : length;
    return {
      entry: first.event.entry,
      content: this.#content(stream, { subject: shape.subject, ended, most }),
      cancel: () => stream.cancel(readerLeftError(shape.subject)),
    };
  }

  async write(
    path: GuestPath,
    content: AsyncIterable<Uint8Array> | Uint8Array,
    options: WriteFileOptions = {},
  ): Promise<{ readonly path: string; readonly bytes: number }> {
    const shape: CallShape = { subject: "write file", topic: "file", accepts: [], inputFollows: true };
    const stream = this.#calls.open(ownedFileCall(path, options), shape, options);
    const ended = this.#calls.ended(stream, shape, (outcome) =>
      outcome.case === "fileWritten"
        ? { path: readPath(outcome.value.path), bytes: toNumber(outcome.value.bytes) }
        : undefined,
    );
    await sendContent(stream, content);
    return ended;
  }

  async *readTree(path: GuestPath, options: Waiting = {}): AsyncGenerator<Uint8Array, undefined> {
    const shape: CallShape = { subject: "read tree", accepts: ["data"], ...fileTopic };
    const stream = this.#calls.open({ case: "readTree", value: { path: pathBytes(path) } }, shape, options);
    const ended = this.#calls.ended(stream, shape, (outcome) =>
      outcome.case === "treeRead" ? toNumber(outcome.value.bytes) : undefined,
    );
    yield* this.#content(stream, { subject: shape.subject, ended, most: Number.POSITIVE_INFINITY });
    return undefined;
  }

  async writeTree(
    path: GuestPath,
    content: AsyncIterable<Uint8Array> | Uint8Array,
    options: WriteTreeOptions = {},
  ): Promise<{ readonly bytes: number; readonly entries: number; readonly skipped: number }> {
    const shape: CallShape = { subject: "write tree", topic: "file", accepts: [], inputFollows: true };
    const stream = this.#calls.open(writeTreeCall(path, options), shape, options);
    const ended = this.#calls.ended(stream, shape, (outcome) =>
      outcome.case === "treeWritten"
        ? {
            bytes: toNumber(outcome.value.bytes),
            entries: toNumber(outcome.value.entries),
            skipped: toNumber(outcome.value.skipped),
          }
        : undefined,
    );
    await sendContent(stream, content);
    return ended;
  }

  async *watch(
    path: GuestPath,
    options: Waiting & { readonly recursive?: boolean } = {},
  ): AsyncGenerator<FileEvent, undefined> {
    const { recursive = false, ...waiting } = options;
    const shape: CallShape = {
      subject: "watch files",
      topic: "watch",
      accepts: ["fileEvent"],
      inputFollows: false,
      windowBytes: eventWindowBytes,
    };
    const call: OpenCall = { case: "watchFiles", value: { path: pathBytes(path), recursive } };
    const stream = this.#calls.open(call, shape, waiting);
    const ended = this.#calls.ended(stream, shape, (outcome) => (outcome.case === "watchEnded" ? true : undefined));
    try {
      for (let output = await stream.read(); output !== undefined; output = await stream.read()) {
        if (isFileEvent(output.event)) yield output.event;
      }
      await ended;
    } finally {
      stream.cancel(readerLeftError(shape.subject));
    }
    return undefined;
  }

  #entry(call: OpenCall, subject: string, waiting: Waiting): Promise<FileEntry> {
    return this.#calls.ask(call, { subject, topic: "file", waiting }, entryAnswer);
  }

  /** Names must rise: a page that goes back would be read for ever. */
  async #readPage(
    stream: GuestStream,
    page: { readonly after: GuestPath | undefined; readonly limit: number },
  ): Promise<FileEntry[]> {
    const entries: FileEntry[] = [];
    let last = page.after === undefined ? new Uint8Array(0) : pathBytes(page.after);
    for (let output = await stream.read(); output !== undefined; output = await stream.read()) {
      if (output.event.type !== "entry") continue;
      const { entry } = output.event;
      const name = Uint8Array.from(entry.rawName ?? new TextEncoder().encode(entry.name));
      if (Buffer.compare(last, name) >= 0) throw this.#calls.violated("a directory whose names do not rise");
      if (entries.length === page.limit) throw this.#calls.violated(`more than ${page.limit} entries of a directory`);
      last = name;
      entries.push(entry);
    }
    return entries;
  }

  async *#content(
    stream: GuestStream,
    of: { readonly subject: string; readonly ended: Promise<number>; readonly most: number },
  ): AsyncGenerator<Uint8Array, undefined> {
    let readBytes = 0;
    try {
      for (let output = await stream.read(); output !== undefined; output = await stream.read()) {
        if (output.event.type !== "data")
          throw this.#calls.violated(`${output.event.type} within the content of a file`);
        readBytes += output.event.data.length;
        if (readBytes > of.most) throw this.#calls.violated(`more than ${of.most} bytes of a part of a file`);
        yield output.event.data;
      }
      const announced = await of.ended;
      if (announced !== readBytes) {
        throw this.#calls.violated(`${readBytes} bytes of content, and ${announced} announced`);
      }
    } finally {
      stream.cancel(readerLeftError(of.subject));
    }
    return undefined;
  }
}

const entryAnswer: ReadOutcome<FileEntry> = (outcome) =>
  outcome.case === "entry" ? readEntry(outcome.value) : undefined;

function waitingOf(options: Waiting): Waiting {
  const { signal, timeoutMs } = options;
  return { ...(signal === undefined ? {} : { signal }), ...(timeoutMs === undefined ? {} : { timeoutMs }) };
}

const fileEventTypes: ReadonlySet<string> = new Set<FileEvent["type"]>([
  "ready",
  "overflow",
  "created",
  "modified",
  "attributes",
  "removed",
  "unwatched",
  "moved",
]);

function isFileEvent(event: { readonly type: string }): event is FileEvent {
  return fileEventTypes.has(event.type);
}
