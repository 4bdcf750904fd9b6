import { executionIdSchema, keyIdSchema, sessionIdSchema, vmIdSchema } from "@instavm/contract";
import { type ExecutionOutput, type ExecutionRecord, executionStatuses } from "@instavm/core";
import { z } from "zod";
import type { ExecutionRow } from "./tables.ts";

const count = z.int().nonnegative();
const languages = ["python", "javascript", "bash"] as const;
const flag = z.literal([0, 1]).transform((value) => value === 1);
const optional = <T extends z.ZodType>(schema: T) => schema.nullable().transform((value) => value ?? undefined);

const executionRow = z.object({
  execution_id: executionIdSchema,
  key_id: keyIdSchema,
  session_id: sessionIdSchema,
  vm_id: optional(vmIdSchema),
  language: optional(z.enum(languages)),
  status: z.enum(executionStatuses),
  created_at_ms: count,
  ended_at_ms: optional(count),
  exit_code: optional(z.int()),
  timed_out: flag,
  truncated: flag,
  cpu_us: count,
  wall_us: count,
  reason: optional(z.string()),
});

/** A row without its output. */
export type ExecutionSummaryRow = Omit<ExecutionRow, "stdout" | "stderr">;

/** The columns of an `ExecutionSummaryRow`. */
export const summaryColumns = [
  "execution_id",
  "key_id",
  "session_id",
  "vm_id",
  "language",
  "status",
  "created_at_ms",
  "ended_at_ms",
  "exit_code",
  "timed_out",
  "truncated",
  "cpu_us",
  "wall_us",
  "reason",
] as const satisfies readonly (keyof ExecutionSummaryRow)[];

/** Throws a `ZodError` on a row that no release writes. */
export function readExecution(row: ExecutionSummaryRow): ExecutionRecord {
  const seen = executionRow.parse(row);
  return {
    executionId: seen.execution_id,
    keyId: seen.key_id,
    sessionId: seen.session_id,
    vmId: seen.vm_id,
    language: seen.language,
    status: seen.status,
    createdAtMs: seen.created_at_ms,
    endedAtMs: seen.ended_at_ms,
    exitCode: seen.exit_code,
    timedOut: seen.timed_out,
    truncated: seen.truncated,
    cpuMs: seen.cpu_us / 1000,
    wallMs: seen.wall_us / 1000,
    reason: seen.reason,
  };
}

/** The row of an execution. */
export function executionRowOf(record: ExecutionRecord, output: ExecutionOutput): ExecutionRow {
  return {
    execution_id: record.executionId,
    key_id: record.keyId,
    session_id: record.sessionId,
    vm_id: record.vmId ?? null,
    language: record.language ?? null,
    status: record.status,
    created_at_ms: record.createdAtMs,
    ended_at_ms: record.endedAtMs ?? null,
    exit_code: record.exitCode ?? null,
    timed_out: record.timedOut ? 1 : 0,
    truncated: record.truncated ? 1 : 0,
    cpu_us: Math.round(record.cpuMs * 1000),
    wall_us: Math.round(record.wallMs * 1000),
    reason: record.reason ?? null,
    ...output,
  };
}
