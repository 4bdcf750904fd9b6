import type { Execution, ExecutionSummary } from "@instavm/contract";
import { formatTime } from "@instavm/contract";
import type { ExecutionRecord, ExecutionView } from "@instavm/core";
import { decodePieces } from "./json-text.ts";

/** An execution with its output. */
export function executionAnswer(view: ExecutionView): Execution {
  const stderr = decodePieces([view.stderr]);
  return {
    ...summaryAnswer(view),
    serialized_stdout: decodePieces([view.stdout]),
    serialized_stderr: view.reason === undefined ? stderr : withReason(stderr, `${view.status}: ${view.reason}`),
  };
}

/** An execution in a list. */
export function summaryAnswer(record: ExecutionRecord): ExecutionSummary {
  const { endedAtMs, status } = record;
  const hasEnded = status !== "running";
  return {
    task_id: record.executionId,
    execution_id: record.executionId,
    session_id: record.sessionId,
    vm_id: record.vmId ?? null,
    status,
    is_complete: hasEnded,
    language: record.language ?? null,
    exit_code: record.exitCode ?? null,
    timed_out: record.timedOut,
    truncated: record.truncated,
    execution_time: hasEnded ? record.wallMs / 1000 : null,
    cpu_time: hasEnded ? record.cpuMs / 1000 : null,
    created_at: formatTime(record.createdAtMs),
    ended_at: endedAtMs === undefined ? null : formatTime(endedAtMs),
    detail: record.reason ?? null,
  };
}

/** Many clients show nothing else of a failure. */
function withReason(stderr: string, reason: string): string {
  const opening = stderr === "" || stderr.endsWith("\n") ? "" : "\n";
  return `${stderr}${opening}${reason}\n`;
}
