import type { OutputEvent } from "../ports/agent-link.ts";

/** Displays kept of one cell; the guest is not trusted to stop. */
const displayLimit = 1_000;

/** One thing that a cell displayed. */
export interface CellDisplay {
  readonly isResult: boolean;
  readonly data: ReadonlyMap<string, Uint8Array>;
}

/** What a call printed and displayed, cut at a cap for each of stdout, stderr and displays. */
export class CollectedOutput {
  readonly #stdout: CappedBytes;
  readonly #stderr: CappedBytes;
  readonly #displays: CellDisplay[] = [];
  readonly #limitBytes: number;
  #displayBytes = 0;
  #isDisplayCut = false;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
    this.#stdout = new CappedBytes(limitBytes);
    this.#stderr = new CappedBytes(limitBytes);
  }

  get displays(): readonly CellDisplay[] {
    return this.#displays;
  }

  /** Something was dropped. */
  get isCut(): boolean {
    return this.#stdout.isCut || this.#stderr.isCut || this.#isDisplayCut;
  }

  take(event: OutputEvent): void {
    if (event.type === "stdout") this.#stdout.take(event.data);
    else if (event.type === "stderr") this.#stderr.take(event.data);
    else if (event.type === "display") this.#takeDisplay(event);
  }

  stdout(): Uint8Array {
    return this.#stdout.joined();
  }

  stderr(): Uint8Array {
    return this.#stderr.joined();
  }

  #takeDisplay({ isResult, data }: CellDisplay): void {
    let bytes = 0;
    for (const [mimeType, content] of data) bytes += mimeType.length + content.byteLength;
    if (this.#displays.length >= displayLimit || this.#displayBytes + bytes > this.#limitBytes) {
      this.#isDisplayCut = true;
      return;
    }
    this.#displayBytes += bytes;
    this.#displays.push({ isResult, data });
  }
}

/** Chunks up to a number of bytes, joined once. */
class CappedBytes {
  readonly #limitBytes: number;
  readonly #chunks: Uint8Array[] = [];
  #bytes = 0;
  isCut = false;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  take(chunk: Uint8Array): void {
    const room = this.#limitBytes - this.#bytes;
    if (chunk.byteLength > room) this.isCut = true;
    const kept = chunk.byteLength > room ? chunk.subarray(0, room) : chunk;
    if (kept.byteLength === 0) return;
    this.#chunks.push(kept);
    this.#bytes += kept.byteLength;
  }

  joined(): Uint8Array {
    const [only] = this.#chunks;
    if (only !== undefined && this.#chunks.length === 1) return only;
    const all = new Uint8Array(this.#bytes);
    let offset = 0;
    for (const chunk of this.#chunks) {
      all.set(chunk, offset);
      offset += chunk.byteLength;
    }
    return all;
  }
}
