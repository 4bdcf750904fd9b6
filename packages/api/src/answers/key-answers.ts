import { formatTime } from "@instavm/contract";
import type { ApiKey, CreatedKey, CurrentUser, RevokedKey } from "@instavm/contract";
import type { Caller, KeyRecord, NewKey } from "@instavm/core";

/** What is known of a key. */
export function keyAnswer(record: KeyRecord, caller: Caller): ApiKey {
  const { keyId, label, role, createdAtMs, lastUsedAtMs, revokedAtMs } = record;
  return {
    id: keyId,
    key_id: keyId,
    description: label,
    role,
    created_at: formatTime(createdAtMs),
    last_used_at: lastUsedAtMs === undefined ? null : formatTime(lastUsedAtMs),
    revoked_at: revokedAtMs === undefined ? null : formatTime(revokedAtMs),
    is_active: revokedAtMs === undefined,
    is_current: keyId === caller.keyId,
  };
}

/** Answer to a create: the only one that holds the key itself. */
export function createdKeyAnswer({ record, key }: NewKey, caller: Caller): CreatedKey {
  return { ...keyAnswer(record, caller), key };
}

/** Answer to a DELETE. */
export function revokedAnswer({ keyId }: KeyRecord): RevokedKey {
  return { message: `API key ${keyId} is revoked.`, id: keyId, key_id: keyId, status: "revoked" };
}

/** A key stands for its user. */
export function currentUserAnswer({ keyId, label, role }: KeyRecord): CurrentUser {
  return { id: keyId, name: label, email: null, is_verified: true, role };
}
