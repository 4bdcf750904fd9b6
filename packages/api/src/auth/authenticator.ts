import type { IncomingHttpHeaders } from "node:http";
import { InstaVmError } from "@instavm/contract";
import type { Caller, Clock, KeyRecords } from "@instavm/core";

const cacheLimit = 1000;
/** A revoked key works this much longer at most. */
const cacheTtlMs = 10_000;
const keyLengthLimit = 512;

/** The records of keys, and how a key becomes the hash that they are found by. */
export interface KeyLookup {
  readonly hash: (key: string) => string;
  readonly findByHash: KeyRecords["findByHash"];
}

interface CacheEntry {
  readonly caller: Caller;
  readonly untilMs: number;
}

/** Turns keys into callers. Only hashes are compared and kept, so timing tells nothing about a key. */
export class Authenticator {
  readonly #keys: KeyLookup;
  readonly #clock: Pick<Clock, "monotonicMs">;
  readonly #cache = new Map<string, CacheEntry>();

  constructor(keys: KeyLookup, clock: Pick<Clock, "monotonicMs">) {
    this.#keys = keys;
    this.#clock = clock;
  }

  /** Throws `unauthorized` for a key that is unknown or revoked. Reads no record for a key seen a moment ago. */
  async authenticate(key: string): Promise<Caller> {
    if (key.length > keyLengthLimit) throw wrongKey();
    const keyHash = this.#keys.hash(key);
    const nowMs = this.#clock.monotonicMs();
    const cached = this.#cache.get(keyHash);
    if (cached !== undefined && cached.untilMs > nowMs) return cached.caller;
    this.#cache.delete(keyHash);
    const record = await this.#keys.findByHash(keyHash);
    if (record === undefined || record.revokedAtMs !== undefined) throw wrongKey();
    const caller = { keyId: record.keyId, role: record.role };
    this.#remember(keyHash, { caller, untilMs: nowMs + cacheTtlMs });
    return caller;
  }

  #remember(keyHash: string, entry: CacheEntry): void {
    this.#cache.set(keyHash, entry);
    if (this.#cache.size <= cacheLimit) return;
    const oldest = this.#cache.keys().next();
    if (oldest.done !== true) this.#cache.delete(oldest.value);
  }
}

/** The key of a request's headers: X-API-Key first, then `Authorization: Bearer`. Undefined when there is neither. */
export function keyOf(headers: IncomingHttpHeaders): string | undefined {
  const own = headers["x-api-key"];
  if (own !== undefined) return typeof own === "string" ? own.trim() : own.join(", ");
  const { authorization } = headers;
  if (authorization === undefined) return undefined;
  return /^bearer +(\S+)$/i.exec(authorization.trim())?.[1] ?? "";
}

/** No key where one is needed. */
export function missingKey(): InstaVmError {
  return new InstaVmError("unauthorized", "The request carries no API key.");
}

function wrongKey(): InstaVmError {
  return new InstaVmError("unauthorized", "The API key is unknown or revoked.");
}
