import type { ExecutionId, KeyId, SessionId, VmId } from "@instavm/contract";
import type { Language } from "./agent-contexts.ts";

/** `completed`: the code ended, however. `failed`: it did not run to an end. `lost`: nobody knows what became of it. */
export const executionStatuses = ["running", "completed", "failed", "lost"] as const;
export type ExecutionStatus = (typeof executionStatuses)[number];

/** Code that runs without a client that waits. Its output is kept apart. */
export interface ExecutionRecord {
  readonly executionId: ExecutionId;
  readonly keyId: KeyId;
  readonly sessionId: SessionId;
  /** Where it ran; undefined when no VM was reached. */
  readonly vmId: VmId | undefined;
  /** What ran; before its end what was asked for. */
  readonly language: Language | undefined;
  readonly status: ExecutionStatus;
  readonly createdAtMs: number;
  /** Set once, with all that follows. */
  readonly endedAtMs: number | undefined;
  readonly exitCode: number | undefined;
  readonly timedOut: boolean;
  /** Output beyond the cap was dropped. */
  readonly truncated: boolean;
  readonly cpuMs: number;
  readonly wallMs: number;
  /** Why it failed or is lost, for a person. */
  readonly reason: string | undefined;
}

/** What code printed, cut at a cap; not necessarily UTF-8. */
export interface ExecutionOutput {
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
}

/** Which executions of a key to list. */
export interface ExecutionFilter {
  readonly limit: number;
  readonly sessionId?: SessionId;
}

export interface ExecutionRecords {
  insert(record: ExecutionRecord): Promise<void>;
  /** Writes the end of one that runs; without effect on one that has ended. */
  finish(record: ExecutionRecord, output: ExecutionOutput): Promise<void>;
  /** Undefined for another key's as for none, in the same time. */
  findOwn(executionId: ExecutionId, keyId: KeyId): Promise<(ExecutionRecord & ExecutionOutput) | undefined>;
  /** Newest first. */
  listByKey(keyId: KeyId, filter: ExecutionFilter): Promise<readonly ExecutionRecord[]>;
  /** What an earlier server left running becomes `lost`; returns how many. */
  loseRunning(atMs: number, reason: string): Promise<number>;
  /** Removes ended ones of a key: all older than `beforeMs`, and the oldest beyond `keep`. */
  prune(keyId: KeyId, limits: { readonly keep: number; readonly beforeMs: number }): Promise<void>;
}
