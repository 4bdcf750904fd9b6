import { open } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { InstaVmError } from "@instavm/contract";
import { Kysely, sql, SqliteDialect } from "kysely";
import type { SchemaDialect } from "../migrations.ts";
import type { Tables } from "../tables.ts";
import { kyselyDatabase } from "./statement-cache.ts";

/** How long a statement waits, and the program with it, for another process's lock. One server writes: it waits for no other. */
const busyTimeoutMs = 1000;

/** SQLite's part of the schema: strict tables, whose integers have one type. */
export const sqliteSchema: SchemaDialect = {
  serialKey: sql`integer primary key autoincrement`,
  integer: sql`integer`,
  tableSuffix: sql`strict`,
  bytes: sql`blob`,
};

/**
 * Opens or makes the file, readable by its owner only: environments of sandboxes are in it.
 *
 * WAL with `synchronous=NORMAL`: a commit is in the operating system's hands when it returns, so it survives a
 * `kill -9` of the server; it costs no flush to the disk, which keeps a create fast. A power cut can lose the last
 * commits, never the file's order; the VMs that they spoke of are gone then, too.
 */
export async function openSqlite(path: string): Promise<Kysely<Tables>> {
  await (await open(path, "a", 0o600)).close();
  const database = new DatabaseSync(path, { timeout: busyTimeoutMs, enableForeignKeyConstraints: true });
  try {
    const mode = database.prepare("pragma journal_mode = wal").get()?.["journal_mode"];
    if (mode !== "wal") {
      throw new InstaVmError("host_setup", `The records in ${path}: journal mode ${String(mode)}; expected wal.`, {
        next: "Put the state directory on a local filesystem.",
      });
    }
    database.exec("pragma synchronous = normal");
    return new Kysely<Tables>({ dialect: new SqliteDialect({ database: kyselyDatabase(database) }) });
  } catch (error) {
    database.close();
    throw error;
  }
}
