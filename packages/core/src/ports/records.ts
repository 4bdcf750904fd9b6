import type { KeyId, SessionId, Shape, VmId } from "@instavm/contract";
import type { VmStatus } from "../vm/vm-status.ts";

/** How a VM came to run. */
export type StartKind = "pool" | "fork" | "clone" | "boot";

export interface SessionRecord {
  readonly sessionId: SessionId;
  readonly keyId: KeyId;
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
  readonly shape: Shape;
  readonly createdAtMs: number;
  readonly endedAtMs: number | undefined;
  /** Why it ended, for a person. */
  readonly endReason: string | undefined;
}

export interface KeyRecord {
  readonly keyId: KeyId;
  readonly role: "admin" | "user";
  readonly label: string;
  /** Hex SHA-256 of the key. The key itself is stored nowhere. */
  readonly hash: string;
  readonly createdAtMs: number;
  readonly revokedAtMs: number | undefined;
}

export interface SessionRecords {
  /** Session and, when it already has one, its VM: both or none. */
  insert(session: SessionRecord, vm?: VmRecord): Promise<void>;
  find(sessionId: SessionId): Promise<SessionRecord | undefined>;
  /** Newest first. */
  listByKey(keyId: KeyId, limit: number): Promise<readonly SessionRecord[]>;
  /** Sessions that have not ended. */
  listLive(): Promise<readonly SessionRecord[]>;
  /** Gives a session a (new) VM. */
  assign(sessionId: SessionId, vm: VmRecord): Promise<void>;
  end(sessionId: SessionId, reason: "killed" | "expired", atMs: number): Promise<void>;
}

export interface VmRecords {
  find(vmId: VmId): Promise<VmRecord | undefined>;
  listLive(): Promise<readonly VmRecord[]>;
  setStatus(vmId: VmId, status: VmStatus, atMs: number, reason?: string): Promise<void>;
}

export interface KeyRecords {
  insert(key: Omit<KeyRecord, "keyId">): Promise<KeyRecord>;
  findByHash(hash: string): Promise<KeyRecord | undefined>;
  list(): Promise<readonly KeyRecord[]>;
  revoke(keyId: KeyId, atMs: number): Promise<void>;
}

/** All records of one database. */
export interface Records {
  readonly sessions: SessionRecords;
  readonly vms: VmRecords;
  readonly keys: KeyRecords;
}
