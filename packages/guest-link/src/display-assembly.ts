import { type DisplayEvent, mostDisplayParts } from "./answers.ts";

/** The most data of one display, in bytes. */
export const longestDisplayBytes = 16 * 1024 * 1024;

/** A part of a display that no single message holds. */
export interface DisplayPiece {
  readonly type: "displayPiece";
  readonly isResult: boolean;
  readonly data: ReadonlyMap<string, Uint8Array>;
  /** false: the last one. */
  readonly continues: boolean;
}

/**
 * Puts displays together from their pieces. It works where they are read, not where they arrive: a reader that waits
 * holds nothing but its window. Whoever feeds it bounds a display to `longestDisplayBytes`.
 */
export class DisplayAssembly {
  #parts = new Map<string, GrowingBytes>();

  /** The display, when this was its last piece and there is something to show. */
  take(piece: DisplayPiece): DisplayEvent | undefined {
    for (const [mimeType, data] of piece.data) this.#append(mimeType, data);
    if (piece.continues) return undefined;
    const parts = this.#parts;
    this.#parts = new Map();
    if (parts.size === 0) return undefined;
    const data = new Map([...parts].map(([mimeType, bytes]) => [mimeType, bytes.taken()] as const));
    return { type: "display", isResult: piece.isResult, data };
  }

  #append(mimeType: string, data: Uint8Array): void {
    let part = this.#parts.get(mimeType);
    if (part === undefined) {
      if (this.#parts.size >= mostDisplayParts) return;
      part = new GrowingBytes();
      this.#parts.set(mimeType, part);
    }
    part.append(data);
  }
}

/** One buffer, however small the pieces are. */
class GrowingBytes {
  #storage = new Uint8Array(0);
  #length = 0;

  append(data: Uint8Array): void {
    const length = this.#length + data.length;
    if (length > this.#storage.length) {
      const storage = new Uint8Array(Math.min(Math.max(length, this.#storage.length * 2), longestDisplayBytes));
      storage.set(this.#storage.subarray(0, this.#length));
      this.#storage = storage;
    }
    this.#storage.set(data, this.#length);
    this.#length = length;
  }

  taken(): Uint8Array {
    return this.#length === this.#storage.length ? this.#storage : this.#storage.slice(0, this.#length);
  }
}
