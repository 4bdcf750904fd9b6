import type { CpioEntry } from "../cpio-archive.ts";

const magic = "070701";
const headerBytes = 110;

/** Reads an archive that `writeCpio` made. Throws a RangeError for anything else. */
export function readCpio(archive: Uint8Array): CpioEntry[] {
  const bytes = Buffer.from(archive.buffer, archive.byteOffset, archive.byteLength);
  const entries: CpioEntry[] = [];
  let offset = 0;
  for (;;) {
    if (bytes.toString("latin1", offset, offset + 6) !== magic)
      throw new RangeError(`no cpio record at byte ${offset}`);
    const at = offset;
    const field = (index: number): number =>
      Number.parseInt(bytes.toString("latin1", at + 6 + index * 8, at + 14 + index * 8), 16);
    const nameLength = field(11);
    const dataStart = aligned(at + headerBytes + nameLength);
    const path = bytes.toString("utf8", at + headerBytes, at + headerBytes + nameLength - 1);
    if (path === "TRAILER!!!") return entries;
    const data = bytes.subarray(dataStart, dataStart + field(6));
    const device = (field(1) & 0o170000) === 0o020000 ? { device: [field(9), field(10)] as const } : {};
    entries.push({ path, mode: field(1), data, ...device });
    offset = aligned(dataStart + data.length);
  }
}

function aligned(offset: number): number {
  return offset + ((4 - (offset % 4)) % 4);
}
