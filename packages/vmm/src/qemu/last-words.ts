import { open } from "node:fs/promises";
import { join } from "node:path";
import { machineFileNames } from "./command-line.ts";

/** Each file's share of the 4 KiB that the port allows. */
const tailBytes = 2_000;

/** The ends of the guest's console and of QEMU's own log, as printable text. Never rejects: a file may be gone. */
export async function lastWords(directory: string): Promise<string> {
  const names = [machineFileNames.console, machineFileNames.log];
  const tails = await Promise.all(names.map((name) => tailOf(join(directory, name))));
  return tails.filter((tail) => tail !== "").join("\n");
}

async function tailOf(path: string): Promise<string> {
  try {
    await using file = await open(path, "r");
    const { size } = await file.stat();
    const bytes = Buffer.alloc(Math.min(size, tailBytes));
    const { bytesRead } = await file.read(bytes, 0, bytes.length, Math.max(0, size - tailBytes));
    return printable(bytes.subarray(0, bytesRead)).trim();
  } catch {
    return "";
  }
}

/** A guest wrote it: escape sequences and other control characters go. */
function printable(bytes: Buffer): string {
  return bytes.toString("latin1").replaceAll(/[^\n\x20-\x7e]/g, "");
}
