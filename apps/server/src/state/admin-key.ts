import { open, readFile, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { InstaVmError } from "@instavm/contract";
import type { KeyRecords } from "@instavm/core";

/** The admin's key of a server: in a file that only its owner can read, its hash in the records. */
export interface AdminKeyPlace {
  readonly path: string;
  readonly keys: KeyRecords;
  readonly generate: () => string;
  readonly hash: (key: string) => string;
}

/**
 * Makes the admin's key at the first start. The file comes first, so that a server that dies in between has lost
 * nothing: the next one records what the file holds. A key whose record is revoked stays revoked.
 */
export async function ensureAdminKey(place: AdminKeyPlace): Promise<void> {
  const { path, keys, generate, hash } = place;
  let key = await readKey(path);
  if (key === undefined) {
    key = generate();
    await writeKey(path, key);
  }
  if ((await keys.findByHash(hash(key))) !== undefined) return;
  await keys.insert({
    role: "admin",
    label: "admin-key",
    hash: hash(key),
    createdAtMs: Date.now(),
    revokedAtMs: undefined,
  });
}

async function readKey(path: string): Promise<string | undefined> {
  try {
    const key = (await readFile(path, "utf8")).trim();
    if (/^[\w-]{20,200}$/.test(key)) return key;
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return undefined;
    throw new InstaVmError("host_setup", `The admin's key in ${path} cannot be read: ${String(cause)}.`, { cause });
  }
  throw new InstaVmError("host_setup", `The file ${path} holds no API key.`, {
    next: "Remove it: the next start makes a new admin's key.",
  });
}

/** Whole or not at all, and on the disk before the answer. */
async function writeKey(path: string, key: string): Promise<void> {
  const draft = `${path}.new`;
  await rm(draft, { force: true });
  {
    await using file = await open(draft, "wx", 0o600);
    await file.writeFile(`${key}\n`);
    await file.sync();
  }
  await rename(draft, path);
  await using directory = await open(dirname(path));
  await directory.sync();
}
