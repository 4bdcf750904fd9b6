import { keyIdSchema } from "@instavm/contract";
import type { AnswerRecord, AnswerRecords } from "@instavm/core";
import type { Kysely } from "kysely";
import { z } from "zod";
import type { Guarded } from "./guarded.ts";
import type { AnswerRow, Tables } from "./tables.ts";

const answerRow = z.object({
  key_id: keyIdSchema,
  idempotency_key: z.string(),
  request_hash: z.string(),
  answer: z.string(),
  created_at_ms: z.int().nonnegative(),
});

/** The port's answers over tables of any dialect. */
export function answerRecords(db: Kysely<Tables>, guarded: Guarded): AnswerRecords {
  return {
    find: (keyId, idempotencyKey) =>
      guarded(async () => {
        const row = await db
          .selectFrom("answers")
          .selectAll()
          .where("key_id", "=", keyId)
          .where("idempotency_key", "=", idempotencyKey)
          .executeTakeFirst();
        return row && readAnswer(row);
      }),

    insert: (record) =>
      guarded(async () => {
        const { key_id, idempotency_key, ...rest } = rowOf(record);
        await db
          .insertInto("answers")
          .values({ key_id, idempotency_key, ...rest })
          .onConflict((conflict) => conflict.columns(["key_id", "idempotency_key"]).doUpdateSet(rest))
          .execute();
      }),

    prune: (keyId, { keep, beforeMs }) =>
      guarded(async () => {
        await db.deleteFrom("answers").where("created_at_ms", "<", beforeMs).execute();
        const firstBeyond = await db
          .selectFrom("answers")
          .select("created_at_ms")
          .where("key_id", "=", keyId)
          .orderBy("created_at_ms", "desc")
          .offset(keep)
          .limit(1)
          .executeTakeFirst();
        if (firstBeyond === undefined) return;
        await db
          .deleteFrom("answers")
          .where("key_id", "=", keyId)
          .where("created_at_ms", "<=", firstBeyond.created_at_ms)
          .execute();
      }),
  };
}

/** Throws a `ZodError` on a row that no release writes. */
function readAnswer(row: AnswerRow): AnswerRecord {
  const seen = answerRow.parse(row);
  return {
    keyId: seen.key_id,
    idempotencyKey: seen.idempotency_key,
    requestHash: seen.request_hash,
    answer: seen.answer,
    createdAtMs: seen.created_at_ms,
  };
}

function rowOf(record: AnswerRecord): AnswerRow {
  return {
    key_id: record.keyId,
    idempotency_key: record.idempotencyKey,
    request_hash: record.requestHash,
    answer: record.answer,
    created_at_ms: record.createdAtMs,
  };
}
