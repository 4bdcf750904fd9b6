import { hash, randomUUID } from "node:crypto";
import type { KeyRecord } from "@instavm/core";
import type { KeyLookup } from "../auth/authenticator.ts";
import { adminKeyId, userKeyId } from "./memory-sessions.ts";

/** One admin's key and one user's, in memory. */
export class MemoryKeys implements KeyLookup {
  readonly adminKey = `admin-${randomUUID()}`;
  readonly userKey = `user-${randomUUID()}`;
  readonly #records = new Map<string, KeyRecord>();
  /** How often a key was looked up. */
  lookups = 0;

  constructor() {
    for (const record of [keyRecord(this.adminKey, "admin"), keyRecord(this.userKey, "user")]) {
      this.#records.set(record.hash, record);
    }
  }

  hash(key: string): string {
    return hashOf(key);
  }

  async findByHash(keyHash: string): Promise<KeyRecord | undefined> {
    this.lookups += 1;
    return this.#records.get(keyHash);
  }
}

/** What the records hold of a key. */
export function keyRecord(key: string, role: "admin" | "user"): KeyRecord {
  const keyId = role === "admin" ? adminKeyId : userKeyId;
  return { keyId, role, label: role, hash: hashOf(key), createdAtMs: 0, revokedAtMs: undefined };
}

function hashOf(key: string): string {
  return hash("sha256", key, "hex");
}
