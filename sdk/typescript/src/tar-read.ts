import { InstaVmError } from "@instavm/contract";
import { blockBytes, checksumOf, joined, paddingBytes } from "./tar-format.ts";
import type { TarEntry } from "./tar-format.ts";

/** Pax records of one entry, in bytes. */
const mostRecordBytes = 64 * 1024;
const prefixBytes = 155;
const decoder = new TextDecoder("utf-8", { fatal: true });
const kinds: Readonly<Record<string, TarEntry["kind"]>> = {
  "\u0000": "file",
  "0": "file",
  "2": "symlink",
  "5": "directory",
};

/** An entry whose content can be read until the next entry is asked for. */
export interface ReadTarEntry extends TarEntry {
  readonly content: AsyncIterable<Uint8Array>;
}

/**
 * Takes an archive apart, entry by entry, in little memory: ustar and pax, as the server writes. Content that is not read is
 * passed over. Throws `guest_protocol` for what is no archive, or ends too early.
 */
export async function* tarEntries(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<ReadTarEntry, void, undefined> {
  const source = new Pieces(bytes);
  try {
    let extension: Extension = {};
    for (;;) {
      const block = await source.exactly(blockBytes);
      if (block.every((byte) => byte === 0)) return;
      const header = { ...parseHeader(block), ...extension };
      if (header.flag === "x") {
        extension = parseRecords(await source.exactly(checkedRecords(header.sizeBytes)));
        await source.exactly(paddingBytes(header.sizeBytes));
        continue;
      }
      extension = {};
      const content = source.content(header.sizeBytes);
      // What describes the whole archive is no entry.
      if (header.flag !== "g") yield { ...header, kind: kinds[header.flag] ?? "other", content };
      for await (const _ of content);
      await source.exactly(paddingBytes(header.sizeBytes));
    }
  } finally {
    await source.close();
  }
}

type Extension = Partial<Pick<TarEntry, "name" | "link" | "sizeBytes">>;

function broken(why: string): InstaVmError {
  return new InstaVmError("guest_protocol", `The archive is broken: ${why}.`);
}

function checkedRecords(sizeBytes: number): number {
  if (sizeBytes <= mostRecordBytes) return sizeBytes;
  throw broken(`${String(sizeBytes)} bytes of records, expected at most ${String(mostRecordBytes)}`);
}

function parseHeader(block: Uint8Array): Omit<TarEntry, "kind"> & { readonly flag: string } {
  if (octalAt(block, 148, 8) !== checksumOf(block)) throw broken("a header's checksum does not fit");
  const name = textAt(block, 0, 100);
  const prefix = textAt(block, 345, prefixBytes);
  return {
    name: prefix.length === 0 ? name : joined(prefix, Uint8Array.of(0x2f), name),
    mode: octalAt(block, 100, 8) & 0o7777,
    sizeBytes: octalAt(block, 124, 12),
    modifiedS: octalAt(block, 136, 12),
    link: textAt(block, 157, 100),
    flag: String.fromCharCode(block[156] ?? 0),
  };
}

function textAt(block: Uint8Array, at: number, length: number): Uint8Array {
  const field = block.subarray(at, at + length);
  const end = field.indexOf(0);
  return field.slice(0, end === -1 ? length : end);
}

function octalAt(block: Uint8Array, at: number, length: number): number {
  const digits = String.fromCharCode(...textAt(block, at, length)).trim();
  if (/^[0-7]*$/.test(digits)) return Number.parseInt(digits || "0", 8);
  throw broken("a header holds no number where one is expected");
}

/** Records are `<length> <key>=<value>\n`; the length counts all of it. */
function parseRecords(records: Uint8Array): Extension {
  let extension: Extension = {};
  let at = 0;
  while (at < records.length) {
    const space = records.indexOf(0x20, at);
    const digits = String.fromCharCode(...records.subarray(at, Math.min(Math.max(space, at), at + 8)));
    const end = at + Number(/^\d+$/.test(digits) ? digits : Number.NaN);
    const equals = records.indexOf(0x3d, space);
    if (!(space > at && equals > space && equals < end && end <= records.length)) throw broken("a record has no end");
    const key = String.fromCharCode(...records.subarray(space + 1, equals));
    extension = { ...extension, ...extensionOf(key, records.slice(equals + 1, end - 1)) };
    at = end;
  }
  return extension;
}

function extensionOf(key: string, value: Uint8Array): Extension {
  if (key === "path") return { name: value };
  if (key === "linkpath") return { link: value };
  if (key !== "size") return {};
  const sizeBytes = Number(decoder.decode(value));
  if (Number.isSafeInteger(sizeBytes) && sizeBytes >= 0) return { sizeBytes };
  throw broken("a size is no number of bytes");
}

/** Bytes that come in pieces of any length, taken in lengths that are wanted. */
class Pieces {
  readonly #source: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array();

  constructor(bytes: AsyncIterable<Uint8Array>) {
    this.#source = bytes[Symbol.asyncIterator]();
  }

  async exactly(length: number): Promise<Uint8Array> {
    const taken: Uint8Array[] = [];
    for await (const piece of this.content(length)) taken.push(piece);
    const [only] = taken;
    return taken.length === 1 && only !== undefined ? only : joined(...taken);
  }

  /** So many bytes, as they come. A second loop over them goes on where the first one was left. */
  content(length: number): AsyncIterable<Uint8Array> {
    let left = length;
    const next = async (): Promise<IteratorResult<Uint8Array, void>> => {
      if (left === 0) return { done: true, value: undefined };
      const piece = await this.#some(left);
      left -= piece.length;
      return { done: false, value: piece };
    };
    return { [Symbol.asyncIterator]: () => ({ next }) };
  }

  async close(): Promise<void> {
    await this.#source.return?.();
  }

  async #some(most: number): Promise<Uint8Array> {
    while (this.#rest.length === 0) {
      const next: IteratorResult<Uint8Array, unknown> = await this.#source.next();
      if (next.done === true) throw broken("it ends too early");
      this.#rest = next.value;
    }
    const piece = this.#rest.subarray(0, most);
    this.#rest = this.#rest.subarray(piece.length);
    return piece;
  }
}
