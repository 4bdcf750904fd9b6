import { StringDecoder } from "node:string_decoder";
import { setImmediate as nextTurn } from "node:timers/promises";

/** Bytes of a program's output; not necessarily UTF-8. Several pieces make one text. */
export type Pieces = readonly Uint8Array[];

const sliceBytes = 256 * 1024;

/** The text of the pieces; what is not UTF-8 becomes U+FFFD. */
export function decodePieces(pieces: Pieces): string {
  const decoder = new StringDecoder("utf8");
  return pieces.map((piece) => decoder.write(asBuffer(piece))).join("") + decoder.end();
}

/** How many bytes the pieces have. */
export function byteLength(pieces: Pieces): number {
  return pieces.reduce((sum, piece) => sum + piece.length, 0);
}

/**
 * A JSON object with `fields`, then `texts`, then `lists`, as bytes; slice by slice and entry by entry, so that other
 * calls run in between.
 */
export async function* jsonObject(
  fields: Readonly<Record<string, unknown>>,
  texts: Readonly<Record<string, Pieces>>,
  lists: Readonly<Record<string, Iterable<unknown>>> = {},
): AsyncGenerator<Buffer> {
  let opening = JSON.stringify(fields).slice(0, -1);
  if (opening.length > 1) opening += ",";
  for (const [name, pieces] of Object.entries(texts)) {
    yield Buffer.from(`${opening}${JSON.stringify(name)}:"`);
    yield* escapedText(pieces);
    opening = '",';
  }
  for (const [name, entries] of Object.entries(lists)) {
    yield Buffer.from(`${opening}${JSON.stringify(name)}:[`);
    yield* listed(entries);
    opening = "],";
  }
  yield Buffer.from(`${opening.slice(0, -1)}}`);
}

async function* listed(entries: Iterable<unknown>): AsyncGenerator<Buffer> {
  let separator = "";
  for (const entry of entries) {
    yield Buffer.from(separator + JSON.stringify(entry));
    await nextTurn();
    separator = ",";
  }
}

async function* escapedText(pieces: Pieces): AsyncGenerator<Buffer> {
  const decoder = new StringDecoder("utf8");
  for (const piece of pieces) {
    for (let start = 0; start < piece.length; start += sliceBytes) {
      yield escape(decoder.write(asBuffer(piece.subarray(start, start + sliceBytes))));
      await nextTurn();
    }
  }
  yield escape(decoder.end());
}

function escape(text: string): Buffer {
  return Buffer.from(JSON.stringify(text).slice(1, -1));
}

/** The same memory as a Buffer. */
function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
