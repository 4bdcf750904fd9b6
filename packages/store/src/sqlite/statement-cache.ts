import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite";
import { InstaVmError } from "@instavm/contract";
import type { SqliteDatabase, SqliteStatement } from "kysely";

/** Queries are few and fixed; more than this many would be a query that is built from data. */
const keptStatements = 100;

/** Node's built-in SQLite in the shape that Kysely's SQLite driver expects; each statement is prepared once. */
export function kyselyDatabase(database: DatabaseSync): SqliteDatabase {
  const statements = new Map<string, SqliteStatement>();
  return {
    close: () => {
      if (database.isOpen) database.close();
    },
    prepare: (text) => {
      const kept = statements.get(text);
      if (kept !== undefined) return kept;
      const prepared = kyselyStatement(database.prepare(text));
      const statement = text === "rollback" ? whereThereIsSomething(database, prepared) : prepared;
      if (statements.size >= keptStatements) statements.clear();
      statements.set(text, statement);
      return statement;
    },
  };
}

/**
 * SQLite takes a transaction back by itself when the disk is full or cannot be read. A rollback that then finds none would
 * stand in the way of the error that says so.
 */
function whereThereIsSomething(database: DatabaseSync, rollback: SqliteStatement): SqliteStatement {
  return {
    ...rollback,
    run: (parameters) => (database.isTransaction ? rollback.run(parameters) : { changes: 0, lastInsertRowid: 0 }),
  };
}

function kyselyStatement(statement: StatementSync): SqliteStatement {
  return {
    reader: statement.columns().length > 0,
    all: (parameters) => statement.all(...parameters.map(inputValue)),
    run: (parameters) => statement.run(...parameters.map(inputValue)),
    iterate: (parameters) => statement.iterate(...parameters.map(inputValue)),
  };
}

function inputValue(value: unknown): SQLInputValue {
  if (value === null || typeof value === "string" || typeof value === "number" || typeof value === "bigint")
    return value;
  if (value instanceof Uint8Array) return value;
  throw new InstaVmError("internal", `A value of type ${typeof value} cannot be stored in SQLite.`);
}
