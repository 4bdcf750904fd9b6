/** Everything in an archive is in blocks of so many bytes. */
export const blockBytes = 512;

/** One entry of a tar archive, without its content. */
export interface TarEntry {
  /** Any bytes but NUL; those of a directory may end in `/`. */
  readonly name: Uint8Array;
  /** `other`: a hard link, a device, a pipe. */
  readonly kind: "file" | "directory" | "symlink" | "other";
  /** Permission bits. */
  readonly mode: number;
  readonly sizeBytes: number;
  /** Since 1970. */
  readonly modifiedS: number;
  /** Where a symbolic link points. */
  readonly link: Uint8Array;
}

/** How many bytes fill a content up to whole blocks. */
export function paddingBytes(sizeBytes: number): number {
  return (blockBytes - (sizeBytes % blockBytes)) % blockBytes;
}

/** The sum of a header's bytes, its own field counted as blanks. */
export function checksumOf(block: Uint8Array): number {
  return block.reduce((sum, byte, at) => sum + (at >= 148 && at < 156 ? 0x20 : byte), 0);
}

/** Several pieces as one. */
export function joined(...pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
