import type { KeyId } from "@instavm/contract";
import type { KeyRecord } from "../ports/records.ts";
import type { Caller } from "../sessions/sessions.ts";

/** Makes keys and what is stored of them. */
export interface KeySecrets {
  /** A new key that nobody can guess. */
  generate(): string;
  /** Hex digest under which a key is found. */
  hash(key: string): string;
}

/** A key that was just made: the only moment in which it is known. */
export interface NewKey {
  readonly record: KeyRecord;
  readonly key: string;
}

/** API keys: an admin sees and ends all of them, a user its own. */
export interface Keys {
  /** Hex digest under which a key is found. */
  hash(key: string): string;
  findByHash(hash: string): Promise<KeyRecord | undefined>;
  /** Notes that a key was used now; writes nothing before it returns. */
  used(keyId: KeyId): void;
  create(request: Pick<KeyRecord, "label" | "role">): Promise<NewKey>;
  /** In the order of their ids. */
  list(caller: Caller): Promise<readonly KeyRecord[]>;
  /** Throws `key_not_found` for an unknown key and for a user that asks for another's. */
  get(caller: Caller, keyId: KeyId): Promise<KeyRecord>;
  /** Throws as `get` does. */
  describe(caller: Caller, keyId: KeyId, label: string): Promise<KeyRecord>;
  /** Once revoked it stays so. Throws as `get` does, and `conflict` for the last admin's key. */
  revoke(caller: Caller, keyId: KeyId): Promise<KeyRecord>;
  /** Writes down when keys were used. Never rejects. */
  close(): Promise<void>;
}
