import type { ExecutionOutput, ExecutionRecords } from "@instavm/core";
import type { Kysely } from "kysely";
import { executionRowOf, readExecution, summaryColumns } from "./execution-rows.ts";
import type { Guarded } from "./guarded.ts";
import type { Tables } from "./tables.ts";

const noOutput: ExecutionOutput = { stdout: new Uint8Array(), stderr: new Uint8Array() };

/** The port's executions over tables of any dialect. */
export function executionRecords(db: Kysely<Tables>, guarded: Guarded): ExecutionRecords {
  return {
    insert: (record) =>
      guarded(async () => {
        await db.insertInto("executions").values(executionRowOf(record, noOutput)).execute();
      }),

    finish: (record, output) =>
      guarded(async () => {
        await db
          .updateTable("executions")
          .set(executionRowOf(record, output))
          .where("execution_id", "=", record.executionId)
          .where("ended_at_ms", "is", null)
          .execute();
      }),

    findOwn: (executionId, keyId) =>
      guarded(async () => {
        const row = await db
          .selectFrom("executions")
          .selectAll()
          .where("execution_id", "=", executionId)
          .where("key_id", "=", keyId)
          .executeTakeFirst();
        return row && { ...readExecution(row), stdout: row.stdout, stderr: row.stderr };
      }),

    listByKey: (keyId, { limit, sessionId }) =>
      guarded(async () => {
        const ofKey = db.selectFrom("executions").select(summaryColumns).where("key_id", "=", keyId);
        const wanted = sessionId === undefined ? ofKey : ofKey.where("session_id", "=", sessionId);
        const rows = await wanted.orderBy("created_at_ms", "desc").orderBy("execution_id").limit(limit).execute();
        return rows.map(readExecution);
      }),

    loseRunning: (atMs, reason) =>
      guarded(async () => {
        const { numUpdatedRows } = await db
          .updateTable("executions")
          .set({ status: "lost", ended_at_ms: atMs, reason })
          .where("ended_at_ms", "is", null)
          .executeTakeFirst();
        return Number(numUpdatedRows);
      }),

    prune: (keyId, { keep, beforeMs }) =>
      guarded(async () => {
        const kept = db
          .selectFrom("executions")
          .select("execution_id")
          .where("key_id", "=", keyId)
          .orderBy("created_at_ms", "desc")
          .orderBy("execution_id")
          .limit(keep);
        await db
          .deleteFrom("executions")
          .where("key_id", "=", keyId)
          .where("ended_at_ms", "is not", null)
          .where((row) => row.or([row("ended_at_ms", "<", beforeMs), row("execution_id", "not in", kept)]))
          .execute();
      }),
  };
}
