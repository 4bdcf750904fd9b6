import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

/** Hex SHA-256 of a file's content, streamed. */
export async function hashFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash, { ...(signal && { signal }) });
  return hash.digest("hex");
}

/** Hex SHA-256 over labelled values; no two different lists give the same text to hash. */
export function hashOf(parts: readonly string[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(`${Buffer.byteLength(part)}:${part},`);
  return hash.digest("hex");
}

/** Relative paths, executable bits and contents of all files under a directory, in one hash. */
export async function hashTree(directory: string): Promise<string> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const parts: string[] = [];
  for (const path of files.sort()) {
    const mode = (await stat(path)).mode & 0o111;
    parts.push(path.slice(directory.length), mode === 0 ? "-" : "x", hashOf([await readFile(path, "latin1")]));
  }
  return hashOf(parts);
}
