/** Little-endian byte strings, written out by hand: the vectors must not be made by the codec that they examine. */

/** Bytes as lower-case hex. */
export const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** Hex as bytes. */
export const fromHex = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"));

/** ASCII text as bytes. */
export const ascii = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "ascii"));

/** One buffer out of several. */
export const concat = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

/** `size` bytes that count up from `first`. */
export const counting = (size: number, first = 0): Uint8Array =>
  Uint8Array.from({ length: size }, (_, index) => (first + index) & 0xff);

/** Two bytes, little-endian. */
export const u16 = (value: number): Uint8Array => Uint8Array.of(value & 0xff, (value >>> 8) & 0xff);

/** Four bytes, little-endian. */
export const u32 = (value: number): Uint8Array =>
  Uint8Array.of(value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, (value >>> 24) & 0xff);

/** A frame to write, right or wrong. */
export interface PlainFrame {
  readonly streamId: number;
  readonly type: number;
  readonly flags?: number;
  readonly payload?: Uint8Array;
  /** What the reserved field holds; 0 in every good frame. */
  readonly reserved?: number;
}

/** A header alone, with a length that need not be true. */
export interface Header extends Omit<PlainFrame, "payload"> {
  readonly length: number;
}

/** The 12 bytes of a header. */
export const header = (of: Header): Uint8Array =>
  concat(u32(of.length), u32(of.streamId), Uint8Array.of(of.type, of.flags ?? 0), u16(of.reserved ?? 0));

/** A whole frame. */
export const frame = (of: PlainFrame): Uint8Array =>
  concat(header({ ...of, length: of.payload?.length ?? 0 }), of.payload ?? new Uint8Array(0));
