import { blockBytes, checksumOf, joined, paddingBytes } from "./tar-format.ts";
import type { TarEntry } from "./tar-format.ts";

const encoder = new TextEncoder();
const nameBytes = 100;
const mostOctalSize = 0o77_777_777_777;
const flags = { file: "0", symlink: "2", directory: "5" } as const;

/** An entry that can be written. */
export type WritableTarEntry = TarEntry & { readonly kind: keyof typeof flags };

/** The blocks before an entry's content: ustar, with pax records for what does not fit. */
export function tarHeader(entry: WritableTarEntry): Uint8Array<ArrayBuffer> {
  const records = paxRecords(entry);
  if (records.length === 0) return headerBlock(entry, flags[entry.kind]);
  const about = { ...entry, name: encoder.encode("PaxHeaders/entry"), link: new Uint8Array() };
  const extension = headerBlock({ ...about, mode: 0o644, sizeBytes: records.length }, "x");
  return joined(
    extension,
    records,
    new Uint8Array(paddingBytes(records.length)),
    headerBlock(entry, flags[entry.kind]),
  );
}

/** The end of an archive. */
export function tarEnd(): Uint8Array<ArrayBuffer> {
  return new Uint8Array(2 * blockBytes);
}

function paxRecords({ name, link, sizeBytes }: WritableTarEntry): Uint8Array {
  return joined(
    ...(name.length > nameBytes ? [paxRecord("path", name)] : []),
    ...(link.length > nameBytes ? [paxRecord("linkpath", link)] : []),
    ...(sizeBytes > mostOctalSize ? [paxRecord("size", encoder.encode(String(sizeBytes)))] : []),
  );
}

/** A record begins with its own length, the digits of the length included. */
function paxRecord(key: string, value: Uint8Array): Uint8Array {
  const rest = key.length + value.length + 3;
  let length = rest + 1;
  while (length !== rest + String(length).length) length = rest + String(length).length;
  return joined(encoder.encode(`${String(length)} ${key}=`), value, encoder.encode("\n"));
}

function headerBlock(entry: TarEntry, flag: string): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(blockBytes);
  const text = (at: number, value: string): void => block.set(encoder.encode(value), at);
  const octal = (at: number, value: number, digits: number): void =>
    text(at, Math.max(0, Math.floor(value)).toString(8).padStart(digits, "0").slice(-digits));
  block.set(entry.name.subarray(0, nameBytes));
  octal(100, entry.mode & 0o7777, 7);
  octal(108, 0, 7);
  octal(116, 0, 7);
  octal(124, Math.min(entry.sizeBytes, mostOctalSize), 11);
  octal(136, Math.min(entry.modifiedS, mostOctalSize), 11);
  text(156, flag);
  block.set(entry.link.subarray(0, nameBytes), 157);
  text(257, "ustar\u000000");
  octal(148, checksumOf(block), 6);
  text(154, "\u0000 ");
  return block;
}
