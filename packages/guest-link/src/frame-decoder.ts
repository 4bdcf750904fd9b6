import { type Frame, type FrameHeader, limits, readHeader, type Side } from "./frame.ts";

/** Takes one frame; its payload is only valid until it returns. false: drop what follows. */
export type TakeFrame = (frame: Frame) => boolean;

/**
 * Cuts a byte stream into frames. Holds at most one unfinished frame; each byte is copied at most once, whatever
 * the size of the pieces it comes in.
 */
export class FrameDecoder {
  readonly #receiver: Side;
  readonly #header = new Uint8Array(limits.headerBytes);
  #headerFilled = 0;
  /** The frame whose payload is not whole yet. */
  #current: FrameHeader | undefined;
  #payload = new Uint8Array(0);
  #payloadFilled = 0;

  constructor(receiver: Side) {
    this.#receiver = receiver;
  }

  /** Throws `guest_protocol` on a bad header; the decoder must not be used afterwards. */
  push(bytes: Uint8Array, take: TakeFrame): void {
    // A Buffer's `slice` shares memory; of this view it copies, as everywhere else.
    const chunk = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let at = 0;
    while (at < chunk.length) {
      const step = this.#current === undefined ? this.#readHeader(chunk, at, take) : this.#readPayload(chunk, at, take);
      if (step === undefined) return;
      at += step;
    }
  }

  /** Returns how many bytes were taken; undefined = stop. */
  #readHeader(chunk: Uint8Array, at: number, take: TakeFrame): number | undefined {
    if (this.#headerFilled === 0 && chunk.length - at >= limits.headerBytes) {
      const header = readHeader(chunk, at, this.#receiver);
      const end = at + limits.headerBytes + header.length;
      if (end > chunk.length) return this.#begin(header, limits.headerBytes);
      const payload = chunk.subarray(at + limits.headerBytes, end);
      return take({ ...header, payload }) ? end - at : undefined;
    }
    const piece = chunk.subarray(at, at + limits.headerBytes - this.#headerFilled);
    this.#header.set(piece, this.#headerFilled);
    this.#headerFilled += piece.length;
    if (this.#headerFilled < limits.headerBytes) return piece.length;
    this.#headerFilled = 0;
    const header = readHeader(this.#header, 0, this.#receiver);
    if (header.length > 0) return this.#begin(header, piece.length);
    return take({ ...header, payload: new Uint8Array(0) }) ? piece.length : undefined;
  }

  #begin(header: FrameHeader, taken: number): number {
    this.#current = header;
    this.#payload = new Uint8Array(header.length);
    this.#payloadFilled = 0;
    return taken;
  }

  #readPayload(chunk: Uint8Array, at: number, take: TakeFrame): number | undefined {
    const header = this.#current;
    if (header === undefined) return undefined;
    const piece = chunk.subarray(at, at + header.length - this.#payloadFilled);
    this.#payload.set(piece, this.#payloadFilled);
    this.#payloadFilled += piece.length;
    if (this.#payloadFilled < header.length) return piece.length;
    const payload = this.#payload;
    this.#current = undefined;
    this.#payload = new Uint8Array(0);
    return take({ ...header, payload }) ? piece.length : undefined;
  }
}
