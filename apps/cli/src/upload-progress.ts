const redrawMs = 100;
const mebibyte = 1024 * 1024;

/** How far an upload is, on one line of the terminal; silent where stderr is no terminal. Disposing ends the line. */
export class UploadProgress implements Disposable {
  readonly #totalBytes: number | undefined;
  readonly #startedAtMs = performance.now();
  #sentBytes = 0;
  #drawnAtMs = 0;

  /** The size is undefined for a source that does not know it. */
  constructor(totalBytes: number | undefined) {
    this.#totalBytes = totalBytes;
  }

  /** Passes bytes on and counts them. */
  counter(): TransformStream<Uint8Array, Uint8Array> {
    return new TransformStream({
      transform: (chunk: Uint8Array, controller) => {
        this.#sentBytes += chunk.length;
        if (performance.now() - this.#drawnAtMs >= redrawMs) this.#draw();
        controller.enqueue(chunk);
      },
    });
  }

  [Symbol.dispose](): void {
    if (process.stderr.isTTY && this.#drawnAtMs > 0) process.stderr.write("\r\u{1b}[K");
  }

  #draw(): void {
    this.#drawnAtMs = performance.now();
    if (!process.stderr.isTTY) return;
    const sent = `${(this.#sentBytes / mebibyte).toFixed(1)} MiB`;
    const rate = this.#sentBytes / mebibyte / Math.max((this.#drawnAtMs - this.#startedAtMs) / 1000, 0.001);
    const total = this.#totalBytes;
    const share = total === undefined || total === 0 ? "" : ` (${((100 * this.#sentBytes) / total).toFixed(0)} %)`;
    process.stderr.write(`\r\u{1b}[K${sent}${share}, ${rate.toFixed(1)} MiB/s`);
  }
}
