import type { ExecutionId, SessionId } from "@instavm/contract";
import type { CodeEnded, OutputEvent } from "../ports/agent-link.ts";
import type { ExecutionFilter, ExecutionOutput, ExecutionRecord } from "../ports/execution-records.ts";
import type { StartKind } from "../ports/records.ts";
import type { Waiting } from "../ports/waiting.ts";
import type { Caller, ExecuteRequest } from "../sessions/sessions.ts";
import type { VmId } from "@instavm/contract";

/** An execution with what it has printed so far. */
export type ExecutionView = ExecutionRecord & ExecutionOutput;

/** Where streamed code runs. */
export interface StreamStart {
  readonly sessionId: SessionId;
  readonly vmId: VmId;
  /** How the VM was started, when this call started it. */
  readonly start: StartKind | undefined;
  readonly readyMs: number | undefined;
}

/** Who reads the output of streamed code. */
export interface StreamReader {
  /** Called once, before the code runs. */
  readonly started: (start: StreamStart) => void | Promise<void>;
  /** The next event comes when this has resolved: a slow reader slows the guest. */
  readonly take: (event: OutputEvent) => void | Promise<void>;
}

/** Code whose output a client reads as it comes, and code that runs without one. */
export interface Executions {
  /** Runs code and hands on all its output. Rejects as `Sessions.execute` does, and with what the reader throws. */
  stream(caller: Caller, request: ExecuteRequest, options: Waiting & { reader: StreamReader }): Promise<CodeEnded>;
  /** Resolves when the code is recorded; it runs on without the caller. Throws `session_not_found`, `limit_exceeded`. */
  start(caller: Caller, request: ExecuteRequest): Promise<ExecutionView>;
  /** Throws `execution_not_found` for unknown ones and those of others. */
  get(caller: Caller, executionId: ExecutionId): Promise<ExecutionView>;
  /** The caller's, newest first. */
  list(caller: Caller, filter: ExecutionFilter): Promise<readonly ExecutionRecord[]>;
}
