import { hash, randomUUID } from "node:crypto";
import { createKeys } from "@instavm/core";
import type { Clock, KeyRecord, Keys } from "@instavm/core";
import { Faults, openMemoryRecords, RecordingLog, RecordTables } from "@instavm/testkit";
import { adminKeyId, userKeyId } from "./memory-sessions.ts";

/** The keys of a test's server, in memory: an admin's with id 1 and a user's with id 2. */
export class MemoryKeys {
  readonly adminKey = `admin-${randomUUID()}`;
  readonly userKey = `user-${randomUUID()}`;
  readonly keys: Keys;
  /** How often a key was looked up. */
  lookups = 0;

  constructor(clock: Clock = stillClock) {
    const tables = new RecordTables();
    tables.keys.push(keyRecord(this.adminKey, "admin"), keyRecord(this.userKey, "user"));
    const { keys: records } = openMemoryRecords(tables, new Faults());
    const find = records.findByHash.bind(records);
    records.findByHash = async (keyHash) => {
      this.lookups += 1;
      return find(keyHash);
    };
    const secrets = { generate: () => `made-${randomUUID()}`, hash: hashOf };
    this.keys = createKeys({ records, secrets, clock, log: new RecordingLog() });
  }
}

/** What the records hold of a key. */
export function keyRecord(key: string, role: "admin" | "user"): KeyRecord {
  const keyId = role === "admin" ? adminKeyId : userKeyId;
  const never = { revokedAtMs: undefined, lastUsedAtMs: undefined };
  return { keyId, role, label: role, hash: hashOf(key), createdAtMs: 0, ...never };
}

function hashOf(key: string): string {
  return hash("sha256", key, "hex");
}

/** Knows the time and calls nobody back. */
const stillClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after: () => () => undefined,
};
