import type { ApiKey as ApiKeyBody, CreatedKey, CurrentUser as CurrentUserBody } from "@instavm/contract";

/** What is known of an API key; the key itself is stored nowhere. */
export interface ApiKey {
  readonly keyId: number;
  readonly description: string;
  /** `admin` may also make keys and see those of others. */
  readonly role: "admin" | "user";
  readonly createdAt: string;
  readonly lastUsedAt: string | undefined;
  readonly revokedAt: string | undefined;
  readonly isActive: boolean;
  /** It is the key of this client. */
  readonly isCurrent: boolean;
}

/** A fresh API key. */
export interface NewApiKey extends ApiKey {
  /** The key itself: shown this once. */
  readonly key: string;
}

/** Whose key a client holds. */
export interface CurrentUser {
  readonly id: number;
  /** The key's description. */
  readonly name: string;
  readonly role: "admin" | "user";
}

export function toApiKey(body: ApiKeyBody): ApiKey {
  return {
    keyId: body.key_id,
    description: body.description,
    role: body.role,
    createdAt: body.created_at,
    lastUsedAt: body.last_used_at ?? undefined,
    revokedAt: body.revoked_at ?? undefined,
    isActive: body.is_active,
    isCurrent: body.is_current,
  };
}

export function toNewApiKey(body: CreatedKey): NewApiKey {
  return { ...toApiKey(body), key: body.key };
}

export function toCurrentUser(body: CurrentUserBody): CurrentUser {
  return { id: body.id, name: body.name, role: body.role };
}
