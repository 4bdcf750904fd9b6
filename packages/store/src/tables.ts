import type { Generated } from "kysely";

/** Columns as the database holds them; times in ms since 1970 UTC, JSON as text. Validated in `rows.ts` on the way out. */
export interface SessionRow {
  readonly session_id: string;
  readonly key_id: number;
  readonly vcpu_count: number;
  readonly memory_mib: number;
  readonly env_json: string;
  readonly metadata_json: string;
  readonly lifetime_s: number;
  readonly created_at_ms: number;
  readonly expires_at_ms: number;
  readonly vm_id: string | null;
  readonly ended_at_ms: number | null;
  readonly end_reason: string | null;
}

/** See `SessionRow`. */
export interface VmRow {
  readonly vm_id: string;
  readonly session_id: string;
  readonly status: string;
  readonly start_kind: string;
  readonly vcpu_count: number;
  readonly memory_mib: number;
  readonly created_at_ms: number;
  readonly ended_at_ms: number | null;
  readonly end_reason: string | null;
}

/** See `SessionRow`. */
export interface KeyRow {
  readonly key_id: Generated<number>;
  readonly role: string;
  readonly label: string;
  readonly hash: string;
  readonly created_at_ms: number;
  readonly revoked_at_ms: number | null;
}

/** Every table of the current schema. */
export interface Tables {
  readonly sessions: SessionRow;
  readonly vms: VmRow;
  readonly keys: KeyRow;
  readonly schema_version: { readonly version: number };
}
