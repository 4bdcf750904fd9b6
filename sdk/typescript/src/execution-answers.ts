import type { Execution as ExecutionBody, ExecutionSummary as ExecutionSummaryBody } from "@instavm/contract";

/** Code in the background, without what it printed. */
export interface ExecutionSummary {
  readonly executionId: string;
  readonly sessionId: string;
  /** `completed` whatever its exit code; `failed`: not run to an end; `lost`: the VM or the server died meanwhile. */
  readonly status: "running" | "completed" | "failed" | "lost";
  /** `status` is not `running`. */
  readonly isComplete: boolean;
  /** Set when `status` is `completed`. */
  readonly exitCode: number | undefined;
  readonly timedOut: boolean;
  /** Output beyond the first MiB was dropped. */
  readonly truncated: boolean;
  readonly executionTimeS: number | undefined;
  readonly cpuTimeS: number | undefined;
  readonly createdAt: string;
  readonly endedAt: string | undefined;
  /** Why it failed or is lost. */
  readonly detail: string | undefined;
}

/** Code in the background, with what it printed until now. */
export interface Execution extends ExecutionSummary {
  readonly stdout: string;
  readonly stderr: string;
}

export function toExecution(body: ExecutionBody): Execution {
  return { ...toExecutionSummary(body), stdout: body.serialized_stdout, stderr: body.serialized_stderr };
}

export function toExecutionSummary(body: ExecutionSummaryBody): ExecutionSummary {
  return {
    executionId: body.task_id,
    sessionId: body.session_id,
    status: body.status,
    isComplete: body.is_complete,
    exitCode: body.exit_code ?? undefined,
    timedOut: body.timed_out,
    truncated: body.truncated,
    executionTimeS: body.execution_time ?? undefined,
    cpuTimeS: body.cpu_time ?? undefined,
    createdAt: body.created_at,
    endedAt: body.ended_at ?? undefined,
    detail: body.detail ?? undefined,
  };
}
