import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import { sessionIdSchema } from "@instavm/contract";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { generateKey, hashKey } from "./api-keys.ts";
import { openStore } from "./open-store.ts";
import { recordsExam } from "./records-exam.ts";

let directory: string;
let files = 0;
const freshPath = (): string => join(directory, `records-${(files += 1)}.sqlite`);

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "instavm-store-"));
});
afterAll(async () => {
  await rm(directory, { recursive: true });
});

recordsExam("SQLite", () => openStore({ path: freshPath() }));

const aKey = { role: "admin", label: "first", createdAtMs: 1, revokedAtMs: undefined } as const;

/** Reads or changes the file behind the store's back. */
const behind = <T>(path: string, work: (database: DatabaseSync) => T): T => {
  const database = new DatabaseSync(path);
  try {
    return work(database);
  } finally {
    database.close();
  }
};

describe("the SQLite file", () => {
  it("keeps records when it is closed and opened again, and can be closed twice", async () => {
    const path = freshPath();
    const first = await openStore({ path });
    const key = await first.keys.insert({ ...aKey, hash: hashKey("k") });
    await first.close();
    await first.close();
    await using second = await openStore({ path });
    expect(await second.keys.list()).toEqual([key]);
  });

  it("is readable by its owner only, its log too", async () => {
    const path = freshPath();
    await using store = await openStore({ path });
    await store.keys.insert({ ...aKey, hash: hashKey("k") });
    for (const file of [path, `${path}-wal`]) expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  it("is in WAL mode with strict tables", async () => {
    const path = freshPath();
    await using _store = await openStore({ path });
    behind(path, (database) => {
      expect(database.prepare("pragma journal_mode").get()).toEqual({ journal_mode: "wal" });
      const tables = database.prepare("select name, strict from pragma_table_list where schema = 'main'").all();
      const loose = tables.filter((table) => table["strict"] !== 1 && !String(table["name"]).startsWith("sqlite_"));
      expect(loose).toEqual([]);
      expect(tables.length).toBeGreaterThan(3);
    });
  });

  it("holds what was written before the process was killed with SIGKILL", async () => {
    const path = freshPath();
    const program = `
      import { openStore } from ${JSON.stringify(fileURLToPath(new URL("./index.ts", import.meta.url)))};
      const store = await openStore({ path: ${JSON.stringify(path)} });
      await store.keys.insert({ role: "admin", label: "l", hash: "h", createdAtMs: 1, revokedAtMs: undefined });
      process.stdout.write("written");
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ["--input-type=module-typescript", "--eval", program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    try {
      await once(child.stdout, "data");
    } finally {
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    await using store = await openStore({ path });
    expect(await store.keys.findByHash("h")).toMatchObject({ label: "l" });
  });

  it("is refused when a newer release wrote it, and left as it is", async () => {
    const path = freshPath();
    await (await openStore({ path })).close();
    behind(path, (database) => database.exec("update schema_version set version = 99"));
    await expect(openStore({ path })).rejects.toMatchObject({
      code: "host_setup",
      message: expect.stringMatching(/schema version 99; this release knows versions up to \d+/),
    });
    expect(behind(path, (database) => database.prepare("select version from schema_version").get())).toEqual({
      version: 99,
    });
  });

  it("is brought up from the first release's schema with all that it holds", async () => {
    const path = freshPath();
    behind(path, (database) =>
      database.exec(`
        create table schema_version (version integer not null) strict;
        insert into schema_version values (1);
        create table keys (key_id integer primary key autoincrement, role text not null, label text not null,
          hash text not null unique, created_at_ms integer not null, revoked_at_ms integer) strict;
        insert into keys values (1, 'admin', 'admin-key', 'h', 1, null);
        create table sessions (session_id text primary key not null, key_id integer not null, vcpu_count integer not null,
          memory_mib integer not null, env_json text not null, metadata_json text not null, lifetime_s integer not null,
          created_at_ms integer not null, expires_at_ms integer not null, vm_id text, ended_at_ms integer,
          end_reason text) strict;
        insert into sessions values ('0b8dcd5c-4f6f-4a3a-9d0a-3f6f0a4c8e11', 1, 2, 512, '{}', '{}', 300, 1, 2,
          'abcdefghij0123456789', null, null);
        create table vms (vm_id text primary key not null, session_id text not null, status text not null,
          start_kind text not null, vcpu_count integer not null, memory_mib integer not null,
          created_at_ms integer not null, ended_at_ms integer, end_reason text) strict;
        insert into vms values ('abcdefghij0123456789', '0b8dcd5c-4f6f-4a3a-9d0a-3f6f0a4c8e11', 'active', 'pool', 2, 512,
          1, null, null);
      `),
    );
    await using store = await openStore({ path });
    const key = await store.keys.findByHash("h");
    expect(key).toMatchObject({ label: "admin-key", lastUsedAtMs: undefined });
    if (key === undefined) return;
    expect(await store.sessions.listByKey(key.keyId, { limit: 2, liveOnly: true })).toMatchObject([
      { session: { name: undefined, lifetimeS: 300 }, vm: { status: "active", start: "pool" } },
    ]);
    const sessionId = sessionIdSchema.parse("0b8dcd5c-4f6f-4a3a-9d0a-3f6f0a4c8e11");
    expect(await store.sessions.usage(sessionId)).toMatchObject({ executions: 0, vms: [{ cpuMs: 0 }] });
  });

  it("is migrated once when several open it at the same moment", async () => {
    const path = freshPath();
    const stores = await Promise.all([1, 2, 3].map(() => openStore({ path })));
    await Promise.all(stores.map((store, at) => store.keys.insert({ ...aKey, hash: `h${at}` })));
    expect(await stores[0]?.keys.list()).toHaveLength(3);
    await Promise.all(stores.map((store) => store.close()));
    expect(behind(path, (database) => database.prepare("select count(*) as rows from schema_version").get())).toEqual({
      rows: 1,
    });
  });

  it.each([
    ["its directory is missing", async (path: string) => join(path, "missing", "records.sqlite")],
    [
      "a directory is in its place",
      async (path: string) => {
        await mkdir(path);
        return path;
      },
    ],
    [
      "it is no database",
      async (path: string) => {
        await writeFile(path, "no database, but long enough to be read as the first page of one\n".repeat(100));
        return path;
      },
    ],
  ])("is refused with its path named when %s", async (_, prepare) => {
    const path = await prepare(freshPath());
    await expect(openStore({ path })).rejects.toMatchObject({
      code: "host_setup",
      message: expect.stringContaining(path),
    });
  });

  it("fails a read with the row's fault when somebody has damaged it", async () => {
    const path = freshPath();
    await using store = await openStore({ path });
    const key = await store.keys.insert({ ...aKey, hash: "h" });
    const sessionId = sessionIdSchema.parse("0b8dcd5c-4f6f-4a3a-9d0a-3f6f0a4c8e11");
    await store.sessions.insert({
      sessionId,
      keyId: key.keyId,
      name: undefined,
      shape: { vcpuCount: 1, memoryMib: 128 },
      env: {},
      metadata: {},
      lifetimeS: 20,
      createdAtMs: 1,
      expiresAtMs: 2,
      vmId: undefined,
      endedAtMs: undefined,
      endReason: undefined,
    });
    behind(path, (database) => database.exec("update sessions set env_json = '[1'"));
    await expect(store.sessions.find(sessionId)).rejects.toMatchObject({
      code: "internal",
      message: expect.stringContaining("env_json"),
    });
  });

  it("lists thousands of records while other work goes on", async () => {
    const path = freshPath();
    await using store = await openStore({ path });
    const key = await store.keys.insert({ ...aKey, hash: "h" });
    behind(path, (database) =>
      database.exec(`
        with recursive many (n) as (select 1 union all select n + 1 from many where n < 5000)
        insert into sessions (session_id, key_id, vcpu_count, memory_mib, env_json, metadata_json, lifetime_s,
          created_at_ms, expires_at_ms)
        select printf('00000000-0000-4000-8000-%012d', n), ${key.keyId}, 2, 512, '{}', '{"n":1}', 300, n, n + 1 from many`),
    );
    let turns = 0;
    const other = setInterval(() => (turns += 1), 1);
    try {
      const listed = await store.sessions.listByKey(key.keyId, { limit: 10_000, liveOnly: true });
      expect(listed).toHaveLength(5000);
      expect(listed[0]?.session.createdAtMs).toBe(5000);
      expect(turns).toBeGreaterThan(10);
    } finally {
      clearInterval(other);
    }
  });

  it("is not opened with a signal that has fired", async () => {
    const path = freshPath();
    const reason = new TypeError("stop");
    await expect(openStore({ path, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    await expect(stat(path)).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("waits for a short lock of another process and names a long one", async () => {
    const path = freshPath();
    await using store = await openStore({ path });
    const other = new DatabaseSync(path);
    try {
      other.exec("begin immediate");
      await expect(store.keys.insert({ ...aKey, hash: "h" })).rejects.toMatchObject({ code: "unavailable" });
      other.exec("rollback");
      await expect(store.keys.insert({ ...aKey, hash: "h" })).resolves.toMatchObject({ hash: "h" });
    } finally {
      other.close();
    }
  });
});

describe("API keys", () => {
  it("have a prefix and 256 random bits, and no two are alike", () => {
    const keys = Array.from({ length: 100 }, generateKey);
    for (const key of keys) expect(key).toMatch(/^ivm_[\w-]{43}$/);
    expect(new Set(keys).size).toBe(100);
  });

  it("are hashed with SHA-256 in hex", () => {
    expect(hashKey("abc")).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  });
});
