const redrawMs = 100;
const mebibyte = 1024 * 1024;

/** How far a transfer is, on one line of the terminal; silent where stderr is no terminal. Disposing ends the line. */
export class TransferProgress implements Disposable {
  readonly #totalBytes: number | undefined;
  readonly #startedAtMs = performance.now();
  #doneBytes = 0;
  #drawnAtMs = 0;

  /** The size is undefined for a source that does not know it. */
  constructor(totalBytes?: number) {
    this.#totalBytes = totalBytes;
  }

  /** Passes bytes on and counts them. */
  counter(): TransformStream<Uint8Array, Uint8Array> {
    return new TransformStream({
      transform: (chunk: Uint8Array, controller) => {
        this.reach(this.#doneBytes + chunk.length);
        controller.enqueue(chunk);
      },
    });
  }

  /** So many bytes have passed by now. */
  reach(bytes: number): void {
    this.#doneBytes = bytes;
    if (performance.now() - this.#drawnAtMs >= redrawMs) this.#draw();
  }

  [Symbol.dispose](): void {
    if (process.stderr.isTTY && this.#drawnAtMs > 0) process.stderr.write("\r\u{1b}[K");
  }

  #draw(): void {
    this.#drawnAtMs = performance.now();
    if (!process.stderr.isTTY) return;
    const done = `${(this.#doneBytes / mebibyte).toFixed(1)} MiB`;
    const rate = this.#doneBytes / mebibyte / Math.max((this.#drawnAtMs - this.#startedAtMs) / 1000, 0.001);
    const total = this.#totalBytes;
    const share = total === undefined || total === 0 ? "" : ` (${((100 * this.#doneBytes) / total).toFixed(0)} %)`;
    process.stderr.write(`\r\u{1b}[K${done}${share}, ${rate.toFixed(1)} MiB/s`);
  }
}
