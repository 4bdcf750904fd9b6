/** One file or directory of an archive. */
export interface CpioEntry {
  /** Relative, without a leading slash. */
  readonly path: string;
  /** File type and permission bits as in `st_mode`. */
  readonly mode: number;
  readonly data: Uint8Array;
  /** For device nodes: major and minor number. */
  readonly device?: readonly [number, number];
}

const magic = "070701";
const headerBytes = 110;
const trailer = "TRAILER!!!";

/** A directory, 0755. */
export function cpioDirectory(path: string): CpioEntry {
  return { path, mode: 0o040755, data: new Uint8Array() };
}

/** A regular file. */
export function cpioFile(path: string, data: Uint8Array, permissions = 0o644): CpioEntry {
  return { path, mode: 0o100000 | permissions, data };
}

/** A character device, 0600. */
export function cpioCharacterDevice(path: string, major: number, minor: number): CpioEntry {
  return { path, mode: 0o020600, data: new Uint8Array(), device: [major, minor] };
}

/**
 * The entries as a `newc` archive, which the kernel unpacks as its first root. Owner root, time 0: the same
 * entries give the same bytes. Parents must come before what is in them.
 */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  entries.forEach((entry, index) => parts.push(...record(entry, index + 1)));
  parts.push(...record({ path: trailer, mode: 0, data: new Uint8Array() }, 0));
  return Buffer.concat(parts);
}

function record(entry: CpioEntry, inode: number): Uint8Array[] {
  const name = Buffer.from(`${entry.path}\0`);
  const [major, minor] = entry.device ?? [0, 0];
  const linkCount = (entry.mode & 0o170000) === 0o040000 ? 2 : 1;
  const fields = [inode, entry.mode, 0, 0, linkCount, 0, entry.data.length, 0, 0, major, minor, name.length, 0];
  const header = magic + fields.map((field) => field.toString(16).padStart(8, "0")).join("");
  return [
    Buffer.from(header, "latin1"),
    name,
    padding(headerBytes + name.length),
    entry.data,
    padding(entry.data.length),
  ];
}

function padding(length: number): Uint8Array {
  return Buffer.alloc((4 - (length % 4)) % 4);
}

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
    if (path === trailer) return entries;
    const data = bytes.subarray(dataStart, dataStart + field(6));
    const device = (field(1) & 0o170000) === 0o020000 ? { device: [field(9), field(10)] as const } : {};
    entries.push({ path, mode: field(1), data, ...device });
    offset = aligned(dataStart + data.length);
  }
}

function aligned(offset: number): number {
  return offset + ((4 - (offset % 4)) % 4);
}
