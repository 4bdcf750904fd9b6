import type { KeyId, SessionId, Shape, VmId } from "@instavm/contract";
import type { VmStatus } from "../vm/vm-status.ts";
import type { AnswerRecords } from "./answer-records.ts";
import type { ExecutionRecords } from "./execution-records.ts";

/** How a VM came to run. */
export type StartKind = "pool" | "fork" | "clone" | "boot";

export interface SessionRecord {
  readonly sessionId: SessionId;
  readonly keyId: KeyId;
  /** What its owner calls its VM. */
  readonly name: string | undefined;
  readonly shape: Shape;
  readonly env: Readonly<Record<string, string>>;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly lifetimeS: number;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
  /** The VM that serves it now, or served it last. */
  readonly vmId: VmId | undefined;
  /** Set once: killed by its owner or expired. */
  readonly endedAtMs: number | undefined;
  readonly endReason: "killed" | "expired" | undefined;
}

export interface VmRecord {
  readonly vmId: VmId;
  readonly sessionId: SessionId;
  readonly status: VmStatus;
  readonly start: StartKind;
  /** The running VM that it began as a copy of. */
  readonly forkedFrom: VmId | undefined;
  readonly shape: Shape;
  readonly createdAtMs: number;
  readonly endedAtMs: number | undefined;
  /** Why it ended, for a person. */
  readonly endReason: string | undefined;
}

/** A session and the VM that serves it now, or served it last. */
export interface SessionWithVm {
  readonly session: SessionRecord;
  readonly vm: VmRecord | undefined;
}

/** A VM and what its session says of it. */
export interface VmWithSession {
  readonly vm: VmRecord;
  readonly session: Pick<SessionRecord, "sessionId" | "name" | "metadata" | "lifetimeS" | "expiresAtMs">;
}

/** Which records of a key are listed: the newest first, all or only those that have not ended. */
export interface ListOptions {
  readonly limit: number;
  readonly liveOnly?: boolean;
}

/** What of a live session can change; undefined = stays. */
export interface SessionChange {
  /** null takes the name away. */
  readonly name?: string | null | undefined;
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
  readonly lifetime?: { readonly lifetimeS: number; readonly expiresAtMs: number } | undefined;
}

/** What a session's calls and VMs have used; CPU time of the VM's process in whole ms. */
export interface UsageEntry {
  readonly sessionId: SessionId;
  /** Calls that ran code since the last entry. */
  readonly executions: number;
  /** The process's total so far; undefined when it could not be read. */
  readonly cpu: { readonly vmId: VmId; readonly totalMs: number } | undefined;
}

/** All that a session has used, as recorded. */
export interface RecordedUsage {
  readonly executions: number;
  /** Its VMs, in no order. */
  readonly vms: readonly (Pick<VmRecord, "vmId" | "shape" | "createdAtMs" | "endedAtMs"> & {
    readonly cpuMs: number;
  })[];
}

export interface KeyRecord {
  readonly keyId: KeyId;
  readonly role: "admin" | "user";
  readonly label: string;
  /** Hex SHA-256 of the key. The key itself is stored nowhere. */
  readonly hash: string;
  readonly createdAtMs: number;
  readonly revokedAtMs: number | undefined;
  /** Written some seconds late. */
  readonly lastUsedAtMs: number | undefined;
}

export interface SessionRecords {
  /** Session and, when it already has one, its VM: both or none. */
  insert(session: SessionRecord, vm?: VmRecord): Promise<void>;
  /** Sessions, each with its VM: all or none. */
  insertAll(entries: readonly { readonly session: SessionRecord; readonly vm: VmRecord }[]): Promise<void>;
  /** With a key: only that key's, see `findOwn`, of which it is the quicker part. */
  find(sessionId: SessionId, keyId?: KeyId): Promise<SessionRecord | undefined>;
  /** Undefined for another key's session as for none: the other one is not read, so that both take the same time. */
  findOwn(sessionId: SessionId, keyId: KeyId): Promise<SessionWithVm | undefined>;
  listByKey(keyId: KeyId, options: ListOptions): Promise<readonly SessionWithVm[]>;
  /** Sessions that have not ended. */
  listLive(): Promise<readonly SessionRecord[]>;
  /** Gives a session a (new) VM. */
  assign(sessionId: SessionId, vm: VmRecord): Promise<void>;
  end(sessionId: SessionId, reason: "killed" | "expired", atMs: number): Promise<void>;
  /** Throws `session_not_found` for a session that there is not or that has ended. */
  change(sessionId: SessionId, change: SessionChange): Promise<void>;
  /** Adds up; sessions that there are not any more are passed over. */
  addUsage(entries: readonly UsageEntry[]): Promise<void>;
  usage(sessionId: SessionId): Promise<RecordedUsage>;
}

export interface VmRecords {
  find(vmId: VmId): Promise<VmRecord | undefined>;
  /** Undefined for another key's VM as for none, in the same time. */
  findOwn(vmId: VmId, keyId: KeyId): Promise<VmWithSession | undefined>;
  listByKey(keyId: KeyId, options: ListOptions): Promise<readonly VmWithSession[]>;
  listLive(): Promise<readonly VmRecord[]>;
  setStatus(vmId: VmId, status: VmStatus, atMs: number, reason?: string): Promise<void>;
}

export interface KeyRecords {
  insert(key: Omit<KeyRecord, "keyId" | "lastUsedAtMs">): Promise<KeyRecord>;
  findByHash(hash: string): Promise<KeyRecord | undefined>;
  find(keyId: KeyId): Promise<KeyRecord | undefined>;
  /** In the order of their ids. */
  list(): Promise<readonly KeyRecord[]>;
  /** Throws `key_not_found`. */
  describe(keyId: KeyId, label: string): Promise<void>;
  revoke(keyId: KeyId, atMs: number): Promise<void>;
  /** Keys that there are not are passed over; no time goes back. */
  used(uses: readonly { readonly keyId: KeyId; readonly atMs: number }[]): Promise<void>;
}

/** All records of one database. */
export interface Records {
  readonly answers: AnswerRecords;
  readonly executions: ExecutionRecords;
  readonly sessions: SessionRecords;
  readonly vms: VmRecords;
  readonly keys: KeyRecords;
}
