import type { FileEntry, FileEvent, OutputEvent, OutputPosition } from "@instavm/core";
import type { DisplayPiece } from "./display-assembly.ts";

type ByteKind = "stdout" | "stderr" | "data";

/** Everything that calls send while they run; which of it a call may send, its stream knows. */
export type StreamEvent =
  | OutputEvent
  | FileEvent
  | OutputPosition
  | DisplayPiece
  | { readonly type: "entry"; readonly entry: FileEntry }
  | { readonly type: "data"; readonly data: Uint8Array };

/** What a reader takes: an event, or a piece of a file, and the wire bytes that it cost. */
export interface QueuedOutput {
  readonly event: StreamEvent;
  readonly costBytes: number;
}

interface Run {
  readonly kind: ByteKind;
  length: number;
  costBytes: number;
}

interface Whole {
  readonly kind: "whole";
  readonly event: StreamEvent;
  readonly costBytes: number;
}

const smallestStorageBytes = 4096;
/** The longest piece that a reader gets. */
const longestRunBytes = 65_536;

/**
 * Output that nobody has read yet. Bytes of one kind in a row are one run in one buffer: a guest that writes a byte
 * at a time costs no more memory than one that writes them at once.
 */
export class OutputQueue {
  #entries: (Run | Whole)[] = [];
  #head = 0;
  #storage = new Uint8Array(0);
  #start = 0;
  #end = 0;

  get isEmpty(): boolean {
    return this.#head === this.#entries.length;
  }

  /** Copies `data`. */
  pushBytes(kind: ByteKind, data: Uint8Array, costBytes: number): void {
    this.#reserve(data.length);
    this.#storage.set(data, this.#end);
    this.#end += data.length;
    const last = this.isEmpty ? undefined : this.#entries.at(-1);
    if (last !== undefined && last.kind === kind && last.length + data.length <= longestRunBytes) {
      last.length += data.length;
      last.costBytes += costBytes;
      return;
    }
    this.#entries.push({ kind, length: data.length, costBytes });
  }

  pushEvent(event: StreamEvent, costBytes: number): void {
    this.#entries.push({ kind: "whole", event, costBytes });
  }

  shift(): QueuedOutput | undefined {
    const entry = this.#entries[this.#head];
    if (entry === undefined) return undefined;
    this.#head += 1;
    const taken =
      entry.kind === "whole"
        ? { event: entry.event, costBytes: entry.costBytes }
        : { event: { type: entry.kind, data: this.#takeBytes(entry.length) }, costBytes: entry.costBytes };
    this.#forgetTaken();
    return taken;
  }

  clear(): void {
    this.#entries = [];
    this.#head = 0;
    this.#storage = new Uint8Array(0);
    this.#start = 0;
    this.#end = 0;
  }

  /** A reader gets a buffer of its own: the storage itself when the run is all that it holds. */
  #takeBytes(length: number): Uint8Array {
    const data = this.#storage.subarray(this.#start, this.#start + length);
    this.#start += length;
    if (this.#start < this.#end) return data.slice();
    this.#storage = new Uint8Array(0);
    this.#start = 0;
    this.#end = 0;
    return data;
  }

  #forgetTaken(): void {
    if (this.isEmpty) {
      this.#entries = [];
      this.#head = 0;
    } else if (this.#head > 1024 && this.#head * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#head);
      this.#head = 0;
    }
  }

  #reserve(bytes: number): void {
    if (this.#end + bytes <= this.#storage.length) return;
    const held = this.#end - this.#start;
    const wanted = held + bytes;
    // The first piece gets exactly its size: most calls have only one.
    const size = held === 0 ? bytes : Math.max(wanted * 2, smallestStorageBytes);
    const storage = new Uint8Array(size);
    storage.set(this.#storage.subarray(this.#start, this.#end));
    this.#storage = storage;
    this.#start = 0;
    this.#end = held;
  }
}
