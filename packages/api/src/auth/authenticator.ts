import type { IncomingHttpHeaders } from "node:http";
import { InstaVmError } from "@instavm/contract";
import type { KeyId } from "@instavm/contract";
import type { Caller, Clock, Keys } from "@instavm/core";

const cacheLimit = 1000;
/** A key that was revoked behind this server's back works this much longer at most. */
const cacheTtlMs = 10_000;
const keyLengthLimit = 512;

/** The records of keys, and how a key becomes the hash that they are found by. */
export type KeyLookup = Pick<Keys, "hash" | "findByHash" | "used">;

interface CacheEntry {
  readonly caller: Caller;
  readonly untilMs: number;
}

/** Turns keys into callers. Only hashes are compared and kept, so timing tells nothing about a key. */
export class Authenticator {
  readonly #keys: KeyLookup;
  readonly #clock: Pick<Clock, "monotonicMs">;
  readonly #cache = new Map<string, CacheEntry>();
  /** Grows when a key is forgotten: what was looked up before is not kept then. */
  #generation = 0;

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
    if (cached !== undefined && cached.untilMs > nowMs) {
      this.#keys.used(cached.caller.keyId);
      return cached.caller;
    }
    this.#cache.delete(keyHash);
    const generation = this.#generation;
    const record = await this.#keys.findByHash(keyHash);
    if (record === undefined || record.revokedAtMs !== undefined) throw wrongKey();
    const caller = { keyId: record.keyId, role: record.role };
    if (generation === this.#generation) this.#remember(keyHash, { caller, untilMs: nowMs + cacheTtlMs });
    this.#keys.used(caller.keyId);
    return caller;
  }

  /** From now on the key's record decides anew. */
  forget(keyId: KeyId): void {
    this.#generation += 1;
    for (const [keyHash, { caller }] of this.#cache) if (caller.keyId === keyId) this.#cache.delete(keyHash);
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

/** Whose key a request's headers hold. Throws `unauthorized`. */
export async function callerOf(headers: IncomingHttpHeaders, authenticator: Authenticator): Promise<Caller> {
  const key = keyOf(headers);
  if (key === undefined) throw missingKey();
  return authenticator.authenticate(key);
}

/** No key where one is needed. */
export function missingKey(): InstaVmError {
  return new InstaVmError("unauthorized", "The request carries no API key.");
}

function wrongKey(): InstaVmError {
  return new InstaVmError("unauthorized", "The API key is unknown or revoked.");
}
