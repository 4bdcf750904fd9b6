import type { Records } from "@instavm/core";
import { answerRecords } from "./answer-records.ts";
import { executionRecords } from "./execution-records.ts";
import { guardedBy } from "./guarded.ts";
import { keyRecords } from "./key-records.ts";
import { migrate } from "./migrations.ts";
import { sessionRecords } from "./session-records.ts";
import { openSqlite, sqliteSchema } from "./sqlite/open-sqlite.ts";
import { recordsError } from "./sqlite/sqlite-errors.ts";
import { vmRecords } from "./vm-records.ts";

/** Which database to open. */
export interface StoreOptions {
  /** The database file; made when missing, its directory must exist. */
  readonly path: string;
  readonly signal?: AbortSignal;
}

/** Records in an open database. */
export interface Store extends Records, AsyncDisposable {
  /** Idempotent. */
  close(): Promise<void>;
}

/**
 * Opens the records of one machine, with their schema brought up to date. Throws `host_setup` when the file cannot
 * be used or a newer release wrote it, `disk_full`, `unavailable` when another process holds it, or the signal's reason.
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  const { path, signal } = options;
  signal?.throwIfAborted();
  const guarded = guardedBy((error) => recordsError(path, error));
  const db = await guarded(() => openSqlite(path));
  const close = (): Promise<void> => guarded(() => db.destroy());
  try {
    await guarded(() => migrate(db, path, sqliteSchema));
    signal?.throwIfAborted();
  } catch (error) {
    await close();
    throw error;
  }
  return {
    sessions: sessionRecords(db, guarded),
    vms: vmRecords(db, guarded),
    keys: keyRecords(db, guarded),
    executions: executionRecords(db, guarded),
    answers: answerRecords(db, guarded),
    close,
    [Symbol.asyncDispose]: close,
  };
}
