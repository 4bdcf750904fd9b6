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
