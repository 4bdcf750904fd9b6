import type { Generated } from "kysely";

/** Columns as the database holds them; times in ms since 1970 UTC, JSON as text. Validated in `rows.ts` on the way out. */
export interface SessionRow {
  readonly session_id: string;
  readonly key_id: number;
  readonly name: string | null;
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
  readonly executions: Generated<number>;
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
  readonly cpu_ms: Generated<number>;
  readonly forked_from: string | null;
}

/** See `SessionRow`. */
export interface KeyRow {
  readonly key_id: Generated<number>;
  readonly role: string;
  readonly label: string;
  readonly hash: string;
  readonly created_at_ms: number;
  readonly revoked_at_ms: number | null;
  readonly last_used_at_ms: number | null;
}

/** See `SessionRow`. `timed_out` and `truncated` are 0 or 1. */
export interface ExecutionRow {
  readonly execution_id: string;
  readonly key_id: number;
  readonly session_id: string;
  readonly vm_id: string | null;
  readonly language: string | null;
  readonly status: string;
  readonly created_at_ms: number;
  readonly ended_at_ms: number | null;
  readonly exit_code: number | null;
  readonly timed_out: number;
  readonly truncated: number;
  readonly cpu_us: number;
  readonly wall_us: number;
  readonly reason: string | null;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
}

/** See `SessionRow`. `answer` is JSON. */
export interface AnswerRow {
  readonly key_id: number;
  readonly idempotency_key: string;
  readonly request_hash: string;
  readonly answer: string;
  readonly created_at_ms: number;
}

/** Every table of the current schema. */
export interface Tables {
  readonly sessions: SessionRow;
  readonly vms: VmRow;
  readonly keys: KeyRow;
  readonly executions: ExecutionRow;
  readonly answers: AnswerRow;
  readonly schema_version: { readonly version: number };
}
