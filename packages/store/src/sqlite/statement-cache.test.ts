import { DatabaseSync } from "node:sqlite";
import { Kysely, SqliteDialect } from "kysely";
import { expect, it } from "vitest";
import { kyselyDatabase } from "./statement-cache.ts";

it("a transaction that SQLite has taken back itself fails with what SQLite said", async () => {
  const database = new DatabaseSync(":memory:");
  database.exec("create table kept (content blob) strict");
  const { page_count: pages } = database.prepare("pragma page_count").get() ?? {};
  database.exec(`pragma max_page_count = ${String(pages)}`);
  await using db = new Kysely<{ kept: { content: Uint8Array } }>({
    dialect: new SqliteDialect({ database: kyselyDatabase(database) }),
  });
  const filling = db.transaction().execute(async (transaction) => {
    await transaction
      .insertInto("kept")
      .values({ content: new Uint8Array(100_000) })
      .execute();
  });
  await expect(filling).rejects.toMatchObject({ errcode: 13 });
  expect(database.isTransaction).toBe(false);
});
