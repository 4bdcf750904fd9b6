import { InstaVmError } from "@instavm/contract";
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

    list: () =>
      guarded(async () => {
        const rows = await db.selectFrom("keys").selectAll().orderBy("key_id").execute();
        return rows.map(readKey);
      }),

    revoke: (keyId, atMs) =>
      guarded(async () => {
        const { numUpdatedRows } = await db
          .updateTable("keys")
          .set((column) => ({ revoked_at_ms: column.fn.coalesce("revoked_at_ms", column.val(atMs)) }))
          .where("key_id", "=", keyId)
          .executeTakeFirst();
        if (numUpdatedRows === 0n) throw new InstaVmError("not_found", `There is no API key with id ${keyId}.`);
      }),
  };
}
