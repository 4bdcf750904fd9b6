/** Base64 of pieces, without ever holding more than one of them. */
export async function* base64Of(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  let carry = Buffer.alloc(0);
  for await (const piece of pieces) {
    const bytes =
      carry.length === 0 ? Buffer.from(piece.buffer, piece.byteOffset, piece.length) : Buffer.concat([carry, piece]);
    const wholeBytes = bytes.length - (bytes.length % 3);
    if (wholeBytes > 0) yield bytes.toString("base64", 0, wholeBytes);
    carry = Buffer.from(bytes.subarray(wholeBytes));
  }
  if (carry.length > 0) yield carry.toString("base64");
}
