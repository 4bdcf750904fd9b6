import { InstaVmError, type KeyId } from "@instavm/contract";
import type { KeyRecord, KeyRecords } from "../ports/records.ts";
import type { Clock, Log } from "../ports/surroundings.ts";
import type { Caller } from "../sessions/sessions.ts";
import type { Keys, KeySecrets, NewKey } from "./keys.ts";

/** When a key was used is written down at most so much later, so that no call waits for it. */
const writeAfterMs = 10_000;

/** What keys are kept with. */
export interface KeyParts {
  readonly records: KeyRecords;
  readonly secrets: KeySecrets;
  readonly clock: Clock;
  readonly log: Log;
}

/** The keys of one server. */
export function createKeys(parts: KeyParts): Keys {
  return new KeyService(parts);
}

class KeyService implements Keys {
  readonly #parts: KeyParts;
  /** Uses that are not written down yet. */
  readonly #usedAtMs = new Map<KeyId, number>();
  #cancelTimer: (() => void) | undefined;

  constructor(parts: KeyParts) {
    this.#parts = parts;
  }

  hash(key: string): string {
    return this.#parts.secrets.hash(key);
  }

  findByHash(hash: string): Promise<KeyRecord | undefined> {
    return this.#parts.records.findByHash(hash);
  }

  used(keyId: KeyId): void {
    const { clock } = this.#parts;
    this.#usedAtMs.set(keyId, clock.nowMs());
    this.#cancelTimer ??= clock.after(writeAfterMs, () => {
      this.#cancelTimer = undefined;
      void this.#write();
    });
  }

  async create({ label, role }: Pick<KeyRecord, "label" | "role">): Promise<NewKey> {
    const { records, secrets, clock } = this.#parts;
    const key = secrets.generate();
    const hash = secrets.hash(key);
    const record = await records.insert({ role, label, hash, createdAtMs: clock.nowMs(), revokedAtMs: undefined });
    return { record, key };
  }

  async list({ role, keyId }: Caller): Promise<readonly KeyRecord[]> {
    const { records } = this.#parts;
    if (role === "admin") return (await records.list()).map((record) => this.#current(record));
    const own = await records.find(keyId);
    return own === undefined ? [] : [this.#current(own)];
  }

  async get({ role, keyId: own }: Caller, keyId: KeyId): Promise<KeyRecord> {
    const record = role === "admin" || keyId === own ? await this.#parts.records.find(keyId) : undefined;
    if (record === undefined) throw new InstaVmError("key_not_found", `API key ${keyId} does not exist`);
    return this.#current(record);
  }

  async describe(caller: Caller, keyId: KeyId, label: string): Promise<KeyRecord> {
    const record = await this.get(caller, keyId);
    await this.#parts.records.describe(keyId, label);
    return { ...record, label };
  }

  async revoke(caller: Caller, keyId: KeyId): Promise<KeyRecord> {
    const { records, clock } = this.#parts;
    const record = await this.get(caller, keyId);
    if (record.revokedAtMs !== undefined) return record;
    if (record.role === "admin") await this.#requireAnotherAdmin(keyId);
    await records.revoke(keyId, clock.nowMs());
    return this.get({ ...caller, role: "admin" }, keyId);
  }

  async close(): Promise<void> {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    await this.#write();
  }

  async #requireAnotherAdmin(keyId: KeyId): Promise<void> {
    const all = await this.#parts.records.list();
    const isOther = (key: KeyRecord): boolean => key.keyId !== keyId && key.revokedAtMs === undefined;
    if (all.some((key) => key.role === "admin" && isOther(key))) return;
    throw new InstaVmError("conflict", `API key ${keyId} is the last admin's key; nobody could make keys without it.`, {
      next: 'Make another one first: POST /v1/api-keys with "role": "admin".',
    });
  }

  #current(record: KeyRecord): KeyRecord {
    const usedAtMs = this.#usedAtMs.get(record.keyId);
    return usedAtMs === undefined ? record : { ...record, lastUsedAtMs: usedAtMs };
  }

  async #write(): Promise<void> {
    const { records, log } = this.#parts;
    const uses = [...this.#usedAtMs].map(([keyId, atMs]) => ({ keyId, atMs }));
    if (uses.length === 0) return;
    try {
      await records.used(uses);
      // What was used again meanwhile has armed the timer.
      for (const { keyId, atMs } of uses) if (this.#usedAtMs.get(keyId) === atMs) this.#usedAtMs.delete(keyId);
    } catch (error) {
      log.warn("keys.use_not_recorded", { keys: uses.length, error });
    }
  }
}
