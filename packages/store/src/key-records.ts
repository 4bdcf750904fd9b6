import { InstaVmError, type KeyId } from "@instavm/contract";
import type { KeyRecords } from "@instavm/core";
import type { Kysely } from "kysely";
import type { Guarded } from "./guarded.ts";
import { keyRowOf, readKey } from "./rows.ts";
import type { Tables } from "./tables.ts";

/** The port's keys over tables of any dialect. */
export function keyRecords(db: Kysely<Tables>, guarded: Guarded): KeyRecords {
  return {
    insert: (key) =>
      guarded(async () => {
        const row = await db.insertInto("keys").values(keyRowOf(key)).returningAll().executeTakeFirstOrThrow();
        return readKey(row);
      }),

    findByHash: (hash) =>
      guarded(async () => {
        const row = await db.selectFrom("keys").selectAll().where("hash", "=", hash).executeTakeFirst();
        return row && readKey(row);
      }),

    find: (keyId) =>
      guarded(async () => {
        const row = await db.selectFrom("keys").selectAll().where("key_id", "=", keyId).executeTakeFirst();
        return row && readKey(row);
      }),

    list: () =>
      guarded(async () => {
        const rows = await db.selectFrom("keys").selectAll().orderBy("key_id").execute();
        return rows.map(readKey);
      }),

    describe: (keyId, label) =>
      guarded(async () => {
        const { numUpdatedRows } = await db
          .updateTable("keys")
          .set({ label })
          .where("key_id", "=", keyId)
          .executeTakeFirst();
        if (numUpdatedRows === 0n) throw unknownKey(keyId);
      }),

    revoke: (keyId, atMs) =>
      guarded(async () => {
        const { numUpdatedRows } = await db
          .updateTable("keys")
          .set((column) => ({ revoked_at_ms: column.fn.coalesce("revoked_at_ms", column.val(atMs)) }))
          .where("key_id", "=", keyId)
          .executeTakeFirst();
        if (numUpdatedRows === 0n) throw unknownKey(keyId);
      }),

    used: (uses) =>
      guarded(() =>
        db.transaction().execute(async (transaction) => {
          for (const { keyId, atMs } of uses) {
            await transaction
              .updateTable("keys")
              .set({ last_used_at_ms: atMs })
              .where("key_id", "=", keyId)
              .where((row) => row.or([row("last_used_at_ms", "is", null), row("last_used_at_ms", "<", atMs)]))
              .execute();
          }
        }),
      ),
  };
}

function unknownKey(keyId: KeyId): InstaVmError {
  return new InstaVmError("key_not_found", `There is no API key with id ${keyId}.`);
}
