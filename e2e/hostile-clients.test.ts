import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "./support/agreement.ts";
import { RawConnection } from "./support/raw-connection.ts";
import { rawCall } from "./support/raw-call.ts";
import { RealServer } from "./support/real-server.ts";
import { TestSession } from "./support/test-session.ts";
import { processesOf } from "./support/traces.ts";

const gib = 1024 ** 3;

let server: RealServer;
let key: string;

beforeAll(async () => {
  server = await RealServer.start();
  key = `x-api-key: ${server.apiKey}`;
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const errorBody = { detail: expect.any(String), code: expect.any(String), next: expect.any(String) };

/** A multipart body up to the content of its file. */
function formStart(fields: Readonly<Record<string, string>>): string {
  const parts = Object.entries(fields).map(
    ([name, value]) => `--x\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
  );
  return `${parts.join("")}--x\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n`;
}

describe("clients that vanish", () => {
  /** Each begins something that takes long, in a session with a big file in `/srv/big`. */
  const beginnings: Readonly<Record<string, (session: TestSession) => RawConnection>> = {
    "while they upload a form": ({ sessionId }) => {
      const form = formStart({ session_id: sessionId, remote_path: "/srv/up/form" });
      const headers = [key, "content-type: multipart/form-data; boundary=x", "content-length: 900000000"];
      return begin("POST /upload", headers, form + "x".repeat(200_000));
    },
    "while they write a file": ({ vmId }) =>
      begin(`PUT /v1/vms/${String(vmId)}/files?path=/srv/up/raw`, [key, "transfer-encoding: chunked"], "400\r\nhalf"),
    "while they write a tree": ({ vmId }) =>
      begin(`PUT /v1/vms/${String(vmId)}/files/tar?path=/srv/up/tree`, [key, "content-length: 90000"], "a".repeat(300)),
    "while they read a file": ({ vmId }) => begin(`GET /v1/vms/${String(vmId)}/files?path=/srv/big`, [key]),
    "while they read a tree": ({ vmId }) => begin(`GET /v1/vms/${String(vmId)}/files/tar?path=/srv`, [key]),
    "while they read base64": ({ sessionId }) => {
      const form = `session_id=${sessionId}&filename=/srv/big`;
      const type = "content-type: application/x-www-form-urlencoded";
      return begin("POST /download", [key, type, `content-length: ${String(form.length)}`], form);
    },
    "while code runs": ({ sessionId }) => beginExecute(sessionId, []),
    "while they read a stream": ({ sessionId }) => beginExecute(sessionId, ["accept: text/event-stream"]),
    "while they watch": ({ vmId }) => begin(`GET /v1/vms/${String(vmId)}/files/watch?path=/srv&recursive=true`, [key]),
    "in the middle of JSON": () =>
      begin("POST /execute", [key, "content-type: application/json", "content-length: 500"], '{"command": "pri'),
    "before they have said anything": () => new RawConnection(server),
  };

  test.each(["reset", "close"] as const)("with a %s, leave nothing behind, and the session serves on", async (how) => {
    await using session = await TestSession.open(server);
    await session.bash("mkdir /srv/up; head -c 64M /dev/zero > /srv/big");
    await session.python("kept = 7");
    await everyKind(session, how);
    await settled(session);
    const before = openFiles();
    for (let round = 0; round < 3; round += 1) await everyKind(session, how);
    await settled(session);
    // The test's own kept connections come and go.
    await until("the server has closed what it had opened", () => openFiles() <= before + 4);
    expect(await session.python("kept")).toMatchObject({ stdout: "7\n" });
  });

  async function everyKind(session: TestSession, how: "reset" | "close"): Promise<void> {
    const connections = Object.values(beginnings).map((start) => start(session));
    await sleep(700);
    for (const connection of connections) connection.vanish(how);
  }

  /** No half file, no program and no other client's work is left. */
  async function settled(session: TestSession): Promise<void> {
    const left = "find /srv -newer /srv/big -type f | grep -v ^/srv/big$; pgrep -af 'sleep 5432[1]'; true";
    await expect.poll(async () => (await session.bash(left)).stdout, { timeout: 30_000 }).toBe("");
  }

  function begin(line: string, headers: readonly string[], body = ""): RawConnection {
    const connection = new RawConnection(server).head(line, headers);
    connection.socket.write(body);
    // Nothing is read: what comes back fills up.
    connection.socket.pause();
    return connection;
  }

  function beginExecute(sessionId: string, headers: readonly string[]): RawConnection {
    const json = JSON.stringify({ session_id: sessionId, language: "bash", command: "sleep 54321", timeout: 600 });
    const all = [key, "content-type: application/json", `content-length: ${String(json.length)}`, ...headers];
    return begin("POST /execute", all, json);
  }

  function openFiles(): number {
    const found = processesOf(server.stateDirectory).find(({ commandLine }) => commandLine.includes("main.ts serve"));
    return readdirSync(`/proc/${String(found?.pid)}/fd`).length;
  }
});

describe("half a multipart body", () => {
  test("is a 400 when it ends before its last boundary, and the old file stays", async () => {
    await using session = await TestSession.open(server);
    await session.bash("echo before > /srv/f");
    const form = `${formStart({ session_id: session.sessionId, remote_path: "/srv/f" })}new content\r\n--x`;
    using connection = new RawConnection(server);
    const headers = [key, "content-type: multipart/form-data; boundary=x", `content-length: ${String(form.length)}`];
    connection.head("POST /upload", headers).socket.write(form);
    expect(await connection.answer()).toMatchObject({ status: 400, body: { ...errorBody, code: "bad_request" } });
    expect((await session.bash("cat /srv/f; ls -A /srv")).stdout).toBe("before\nf\n");
  });

  test("whose sender closes leaves the old file, too", async () => {
    await using session = await TestSession.open(server);
    await session.bash("echo before > /srv/f");
    const form = `${formStart({ session_id: session.sessionId, remote_path: "/srv/f" })}new content`;
    using connection = new RawConnection(server);
    const headers = [key, "content-type: multipart/form-data; boundary=x", "content-length: 100000"];
    connection.head("POST /upload", headers).socket.end(form);
    await connection.closed();
    const seen = async (): Promise<string> => (await session.bash("cat /srv/f; ls -A /srv")).stdout;
    await expect.poll(seen, { timeout: 30_000 }).toBe("before\nf\n");
  });
});

test.each([
  ["/execute", "text/plain", '{"command":"1"}', "application/json"],
  ["/execute", "multipart/form-data; boundary=x", "--x--", "application/json"],
  ["/v1/vms", "application/x-www-form-urlencoded", "name=a", "application/json"],
  ["/upload", "application/json", "{}", "multipart/form-data"],
  ["/download", "application/json", "{}", "application/x-www-form-urlencoded"],
])("%s with the content type %s is a 400 that names the right one", async (...[path, type, body, expected]) => {
  const headers = { "x-api-key": server.apiKey, "content-type": type };
  expect(await rawCall(server, path, { method: "POST", body, headers })).toMatchObject({
    status: 400,
    body: { ...errorBody, code: "bad_request", detail: expect.stringContaining(expected) },
  });
});

test("two clients on one session take turns, and both get their own results", async () => {
  await using session = await TestSession.open(server);
  await session.python("import time\ncounter, inside = 0, 0");
  const step = (client: string): string =>
    `inside += 1; seen = counter; time.sleep(0.002); counter = seen + 1; inside -= 1; ("${client}", counter, inside)`;
  const run = async (client: string): Promise<readonly string[]> => {
    const own = server.client;
    const shown: string[] = [];
    for (let call = 0; call < 40; call += 1) {
      shown.push((await own.execute(session.sessionId, step(client), { language: "python" })).stdout);
    }
    return shown;
  };
  const [one, two] = await Promise.all([run("one"), run("two")]);
  const countsOf = (client: string, shown: readonly string[] = []): readonly number[] =>
    shown.map((text) => Number(new RegExp(String.raw`^\('${client}', (\d+), 0\)\n$`).exec(text)?.[1]));
  const counts = [...countsOf("one", one), ...countsOf("two", two)];
  expect(counts.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 80 }, (_, index) => index + 1));
});

test("10,000 sessions are listed in bounded time, and nobody waits for it", async () => {
  const many = addKeyWithSessions(10_000);
  const headers = { "x-api-key": many };
  const timed = async (path: string) => {
    const startedAt = performance.now();
    const { status, body } = await rawCall(server, path, { headers });
    return { status, length: Array.isArray(body) ? body.length : -1, tookMs: performance.now() - startedAt };
  };
  await timed("/v1/sessions/sandboxes?limit=10");
  const list = timed("/v1/vms/?limit=10000");
  const beside = await timed("/v1/users/me");
  const whole = await list;
  expect(whole).toMatchObject({ status: 200, length: 10_000 });
  expect(whole.tookMs).toBeLessThan(10_000);
  expect(beside.tookMs).toBeLessThan(2000);
  expect(await timed("/v1/vms/")).toMatchObject({ status: 200, length: 1000 });
  expect(await timed("/v1/vms")).toMatchObject({ status: 200, length: 0 });
  const page = await timed("/v1/sessions/sandboxes?limit=1000");
  expect(page).toMatchObject({ status: 200, length: 1000 });
  expect(page.tookMs).toBeLessThan(5000);
  const filtered = await timed(`/v1/sessions/sandboxes?metadata=${encodeURIComponent('{"n":9999}')}`);
  expect(filtered).toMatchObject({ status: 200, length: 1 });
  expect(filtered.tookMs).toBeLessThan(10_000);
});

describe("tricks with paths and headers", () => {
  test.each([
    "/../../../etc/passwd",
    "/v1/vms/../../etc/passwd",
    "/v1/sessions/session/..%2f..%2f..%2fetc%2fpasswd",
    "/v1/sessions/session/%2e%2e/%2e%2e/health",
    "/v1/sessions/session/%00",
    "/v1/vms/a%00b/files?path=/etc/passwd",
    "/v1/vms/%2f%2f/files?path=/etc/passwd",
    String.raw`/v1/vms/..\..\health`,
    "/v1/vms/%ff%fe",
    "/v1/vms/%zz",
    `/v1/sessions/session/${"a".repeat(8000)}`,
    `/${"a/".repeat(4000)}`,
    "/health;x=y",
    "/health%20",
    "/%68ealth/../v1/api-keys",
    "*",
    "health",
  ])("%s leads nowhere", async (path) => {
    using connection = new RawConnection(server).head(`GET ${path}`, [key, "connection: close"]);
    const { status, body } = await connection.answer();
    expect([400, 404]).toContain(status);
    expect(body).toMatchObject(errorBody);
    expect(JSON.stringify(body)).not.toContain("root:x:0");
  });

  test.each([
    ["NUL in a header", "x-a: b\0c"],
    ["a name with a space", "x a: b"],
    ["a line without a name", ": b"],
    ["a bare line feed", "x-a: b\nx-b: c\rx-d: e"],
    ["a folded line", "x-a: b\r\n c"],
    ["two lengths", "content-length: 5\r\ncontent-length: 6"],
    ["a negative length", "content-length: -1"],
    ["a length and chunks", "content-length: 5\r\ntransfer-encoding: chunked"],
    ["an unknown transfer coding", "transfer-encoding: chunked, gzip"],
    ["very long", `x-long: ${"y".repeat(70_000)}`],
    ["very many", Array.from({ length: 4000 }, (_, at) => `x-${String(at)}: y`).join("\r\n")],
  ])("a request with %s is refused, and its connection closed", async (_, header) => {
    using connection = new RawConnection(server).head("POST /kill", [key, header]);
    const answer = await connection.closed();
    expect(answer).toMatch(/^HTTP\/1\.1 4\d\d /);
    expect(JSON.parse(answer.slice(answer.indexOf("\r\n\r\n") + 4))).toMatchObject(errorBody);
    expect(answer.match(/^HTTP\/1\.1 /gm)).toHaveLength(1);
  });

  test("what follows a refused request on its connection is not taken for another one", async () => {
    using connection = new RawConnection(server);
    const hidden = `DELETE /v1/api-keys/1 HTTP/1.1\r\nhost: test\r\n${key}\r\n\r\n`;
    connection.head("POST /kill", [key, "content-length: 5", "transfer-encoding: chunked"]).socket.write(hidden);
    expect((await connection.closed()).match(/^HTTP\/1\.1 /gm)).toHaveLength(1);
    expect(await rawCall(server, "/v1/users/me")).toMatchObject({ status: 200 });
  });
});

test("a body over the limit is refused before any of it has come", async () => {
  await using session = await TestSession.open(server);
  const files = `/v1/vms/${String(session.vmId)}/files`;
  const json = "content-type: application/json";
  for (const [line, bytes, type] of [
    ["POST /kill", 2 * 1024 * 1024, json],
    ["POST /execute", 64 * 1024 * 1024, json],
    ["POST /upload", 17 * gib, "content-type: multipart/form-data; boundary=x"],
    [`PUT ${files}?path=/srv/f`, 17 * gib, "content-type: text/plain"],
    [`PUT ${files}/tar?path=/srv/d`, 17 * gib, "content-type: application/x-tar"],
  ] as const) {
    using connection = new RawConnection(server).head(line, [key, type, `content-length: ${String(bytes)}`]);
    expect(await connection.answer()).toMatchObject({ status: 413, body: { ...errorBody, code: "too_large" } });
  }
});

test("a hundred clients that send their headers a byte at a time are closed, and hold up nobody", async () => {
  await using session = await TestSession.open(server);
  const slow = Array.from({ length: 100 }, () => {
    const connection = new RawConnection(server);
    connection.socket.write("GET /health HTTP/1.1\r\nhost: test\r\nx-drip: ");
    return connection;
  });
  const drip = setInterval(() => {
    for (const { socket } of slow) if (!socket.destroyed) socket.write("x");
  }, 500);
  try {
    const all = Promise.all(slow.map(async (connection) => await connection.closed()));
    const startedAt = performance.now();
    while (slow.some(({ socket }) => !socket.destroyed) && performance.now() - startedAt < 60_000) {
      const calledAt = performance.now();
      expect(await session.python("6 * 7")).toMatchObject({ stdout: "42\n" });
      expect(performance.now() - calledAt).toBeLessThan(5000);
      await sleep(500);
    }
    for (const answer of await all) expect(answer).toMatch(/^HTTP\/1\.1 408 /);
  } finally {
    clearInterval(drip);
  }
});

/** A user's key with so many live sessions whose VMs have ended: what a long-lived server's records hold. */
function addKeyWithSessions(count: number): string {
  const made = "ivm_many-sessions";
  using records = new DatabaseSync(join(server.stateDirectory, "records.db"));
  const hash = createHash("sha256").update(made).digest("hex");
  records
    .prepare("insert into keys (role, label, hash, created_at_ms) values ('user', 'many', ?, ?)")
    .run(hash, Date.now());
  const row = records.prepare("select key_id from keys where hash = ?").get(hash);
  records.exec(`
    begin;
    create temp table many as with recursive counted (n) as (select 1 union all select n + 1 from counted where n < ${String(count)}) select n from counted;
    insert into sessions (session_id, key_id, vcpu_count, memory_mib, env_json, metadata_json, lifetime_s, created_at_ms, expires_at_ms)
      select printf('00000000-0000-4000-8000-%012d', n), ${String(row?.["key_id"])}, 2, 512, '{}', json_object('n', n), 86400,
        ${String(Date.now())} + n, ${String(Date.now() + 86_400_000)} from many;
    insert into vms (vm_id, session_id, status, start_kind, vcpu_count, memory_mib, created_at_ms, ended_at_ms, end_reason)
      select printf('v%019d', n), printf('00000000-0000-4000-8000-%012d', n), 'failed', 'clone', 2, 512, n, n + 1, 'lost' from many;
    update sessions set vm_id = 'v' || printf('%019d', cast(substr(session_id, 25) as integer)) where key_id = ${String(row?.["key_id"])};
    commit;`);
  return made;
}
