import { InstaVmError } from "@instavm/contract";
import { type Kysely, type RawBuilder, sql } from "kysely";
import type { Tables } from "./tables.ts";

/** What differs between databases when tables are made. */
export interface SchemaDialect {
  /** A column that numbers its rows from 1 and gives no number twice. */
  readonly serialKey: RawBuilder<unknown>;
  /** A column of whole numbers up to 2^53. */
  readonly integer: RawBuilder<unknown>;
  /** What follows the column list: SQLite's `strict`. */
  readonly tableSuffix: RawBuilder<unknown>;
  /** A column of bytes. */
  readonly bytes: RawBuilder<unknown>;
}

type Migration = (dialect: SchemaDialect) => readonly RawBuilder<unknown>[];

/** In order; the version of a schema is how many of them it has seen. What was released is never edited: append. */
const migrations: readonly Migration[] = [
  ({ serialKey, integer, tableSuffix }) => [
    sql`create table keys (
      key_id ${serialKey},
      role text not null check (role in ('admin', 'user')),
      label text not null,
      hash text not null unique,
      created_at_ms ${integer} not null,
      revoked_at_ms ${integer}
    ) ${tableSuffix}`,
    sql`create table sessions (
      session_id text primary key not null,
      key_id ${integer} not null references keys (key_id),
      vcpu_count ${integer} not null,
      memory_mib ${integer} not null,
      env_json text not null,
      metadata_json text not null,
      lifetime_s ${integer} not null,
      created_at_ms ${integer} not null,
      expires_at_ms ${integer} not null,
      vm_id text references vms (vm_id) deferrable initially deferred,
      ended_at_ms ${integer},
      end_reason text check (end_reason in ('killed', 'expired')),
      check ((ended_at_ms is null) = (end_reason is null))
    ) ${tableSuffix}`,
    sql`create table vms (
      vm_id text primary key not null,
      session_id text not null references sessions (session_id),
      status text not null,
      start_kind text not null,
      vcpu_count ${integer} not null,
      memory_mib ${integer} not null,
      created_at_ms ${integer} not null,
      ended_at_ms ${integer},
      end_reason text,
      check ((ended_at_ms is not null) = (status in ('terminated', 'failed')))
    ) ${tableSuffix}`,
    sql`create unique index vms_live_by_session on vms (session_id) where ended_at_ms is null`,
    sql`create index sessions_by_key on sessions (key_id, created_at_ms)`,
    sql`create index sessions_live on sessions (expires_at_ms) where ended_at_ms is null`,
  ],
  ({ integer }) => [
    sql`alter table sessions add column name text`,
    sql`alter table sessions add column executions ${integer} not null default 0`,
    sql`alter table vms add column cpu_ms ${integer} not null default 0`,
    sql`alter table keys add column last_used_at_ms ${integer}`,
    sql`create index sessions_live_by_key on sessions (key_id, created_at_ms) where ended_at_ms is null`,
    sql`create index vms_by_session on vms (session_id)`,
  ],
  ({ integer, bytes, tableSuffix }) => [
    sql`create table executions (
      execution_id text primary key not null,
      key_id ${integer} not null references keys (key_id),
      session_id text not null references sessions (session_id),
      vm_id text,
      language text,
      status text not null check (status in ('running', 'completed', 'failed', 'lost')),
      created_at_ms ${integer} not null,
      ended_at_ms ${integer},
      exit_code ${integer},
      timed_out ${integer} not null,
      truncated ${integer} not null,
      cpu_us ${integer} not null,
      wall_us ${integer} not null,
      reason text,
      stdout ${bytes} not null,
      stderr ${bytes} not null,
      check ((ended_at_ms is null) = (status = 'running'))
    ) ${tableSuffix}`,
    sql`create index executions_by_key on executions (key_id, created_at_ms)`,
    sql`create index executions_running on executions (execution_id) where ended_at_ms is null`,
  ],
  ({ integer, tableSuffix }) => [
    sql`create table answers (
      key_id ${integer} not null references keys (key_id),
      idempotency_key text not null,
      request_hash text not null,
      answer text not null,
      created_at_ms ${integer} not null,
      primary key (key_id, idempotency_key)
    ) ${tableSuffix}`,
    sql`create index answers_by_key on answers (key_id, created_at_ms)`,
    sql`create index answers_by_age on answers (created_at_ms)`,
  ],
  () => [sql`alter table vms add column forked_from text`],
];

/**
 * Brings the schema to what this release expects, in one transaction, forward only. Throws `host_setup` when a newer
 * release has written the database.
 */
export async function migrate(db: Kysely<Tables>, subject: string, dialect: SchemaDialect): Promise<void> {
  await sql`create table if not exists schema_version (version ${dialect.integer} not null) ${dialect.tableSuffix}`.execute(
    db,
  );
  await db.transaction().execute(async (transaction) => {
    // A write comes first: it waits for another process that migrates at this moment.
    await transaction
      .updateTable("schema_version")
      .set({ version: sql`version` })
      .execute();
    const row = await transaction.selectFrom("schema_version").select("version").executeTakeFirst();
    if (row === undefined) await transaction.insertInto("schema_version").values({ version: 0 }).execute();
    const seen = row?.version ?? 0;
    if (seen > migrations.length) throw newerSchema(subject, seen);
    for (const migration of migrations.slice(seen)) {
      for (const statement of migration(dialect)) await statement.execute(transaction);
    }
    await transaction.updateTable("schema_version").set({ version: migrations.length }).execute();
  });
}

function newerSchema(subject: string, seen: number): InstaVmError {
  return new InstaVmError(
    "host_setup",
    `The records in ${subject} have schema version ${seen}; this release knows versions up to ${migrations.length}.`,
    { next: "Start the release that wrote them, or a newer one." },
  );
}
