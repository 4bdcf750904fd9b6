import { createHash, randomUUID } from "node:crypto";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as sleep } from "node:timers/promises";
import { InstaVm } from "instavm";
import { afterAll, beforeAll, expect, test } from "vitest";
import { rawCall } from "./support/raw-call.ts";
import { RealServer } from "./support/real-server.ts";
import { TestSession } from "./support/test-session.ts";

const mib = 1024 * 1024;

let server: RealServer;

beforeAll(async () => {
  server = await RealServer.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** The error that an execute of this body is answered with; the session must then still work. */
async function refusal(session: TestSession, body: unknown) {
  const answer = await rawCall(server, "/execute", { body });
  expect(answer.headers.get("content-type")).toContain("application/json");
  expect(answer.body).toMatchObject({
    detail: expect.stringMatching(/./),
    next: expect.stringMatching(/./),
    request_id: answer.headers.get("x-request-id"),
  });
  expect(await session.python("6 * 7")).toMatchObject({ stdout: "42\n", exitCode: 0 });
  return answer;
}

test("a session that never existed is a 404 that says so", async () => {
  const unknown = randomUUID();
  const client = server.client;
  await expect(client.execute(unknown, "1")).rejects.toMatchObject({
    code: "session_not_found",
    message: expect.stringContaining(unknown),
    next: expect.stringContaining("POST /v1/sessions/session"),
  });
  await expect(client.getSession(unknown)).rejects.toMatchObject({ code: "session_not_found" });
  await expect(client.kill(unknown)).rejects.toMatchObject({ code: "session_not_found" });
  expect(await client.sessionStatus(unknown)).toMatchObject({ exists: false, usable: false, vmAlive: false });
});

test("an id that is no UUID is refused, in a path and in a body", async () => {
  await using session = await TestSession.open(server);
  expect(await rawCall(server, "/v1/sessions/session/..%2f..%2fetc")).toMatchObject({ status: 404 });
  expect(await rawCall(server, "/v1/sessions/session/1")).toMatchObject({ status: 404 });
  expect(await refusal(session, { command: "1", session_id: "../../etc" })).toMatchObject({
    status: 422,
    body: { code: "invalid", errors: [expect.objectContaining({ loc: ["body", "session_id"] })] },
  });
});

test("a killed session stays killed, and says that it was", async () => {
  const client = server.client;
  const { sessionId } = await client.createSession();
  await client.kill(sessionId);
  await expect(client.execute(sessionId, "1")).rejects.toMatchObject({
    code: "session_not_found",
    message: expect.stringContaining("was killed"),
  });
  expect(await client.sessionStatus(sessionId)).toMatchObject({ usable: false, vmAlive: false, vmStatus: "killed" });
});

test("a session whose lifetime is over is gone with its VM, and says why", async () => {
  const client = server.client;
  const { sessionId } = await client.createSession({ lifetimeS: 20 });
  expect(await client.execute(sessionId, "print(1)")).toMatchObject({ stdout: "1\n" });
  const vmsBefore = server.vmPids().length;
  // What still runs at the end of the lifetime ends with it.
  await expect(client.execute(sessionId, "sleep 60", { timeoutS: 60 })).rejects.toMatchObject({
    code: "session_not_found",
    message: expect.stringContaining("its lifetime of 20 s is over"),
  });
  await expect(client.execute(sessionId, "1")).rejects.toMatchObject({
    code: "session_not_found",
    message: expect.stringContaining("its lifetime of 20 s is over"),
    next: expect.stringContaining("longer lifetime"),
  });
  await expect.poll(() => server.vmPids().length, { timeout: 10_000 }).toBe(vmsBefore - 1);
});

test("no key and wrong keys are a 401 in JSON; the right one works in both headers", async () => {
  const path = "/v1/sessions/sandboxes";
  for (const headers of [
    {},
    { "x-api-key": "wrong" },
    { "x-api-key": "" },
    { authorization: "Bearer wrong" },
    { authorization: `Basic ${server.apiKey}` },
    { "x-api-key": "x".repeat(10_000) },
  ]) {
    expect(await rawCall(server, path, { headers })).toMatchObject({ status: 401, body: { code: "unauthorized" } });
  }
  expect(await rawCall(server, path, { headers: { "x-api-key": server.apiKey } })).toMatchObject({ status: 200 });
  expect(await rawCall(server, path, { headers: { authorization: `Bearer ${server.apiKey}` } })).toMatchObject({
    status: 200,
  });
});

test("a session is created with the key in the body alone, and not with a wrong one", async () => {
  const create = async (api_key: string) =>
    await rawCall(server, "/v1/sessions/session", { headers: {}, body: { api_key } });
  expect(await create("wrong")).toMatchObject({ status: 401, body: { code: "unauthorized" } });
  const created = await create(server.apiKey);
  expect(created).toMatchObject({ status: 200, body: { session_id: expect.stringMatching(/^[0-9a-f-]{36}$/) } });
});

test("another user's key sees, runs and kills nothing", async () => {
  await using session = await TestSession.open(server);
  const stranger = new InstaVm({ baseUrl: server.baseUrl, apiKey: addKey(server, "stranger") });
  expect(await stranger.listSessions()).toEqual([]);
  await expect(stranger.execute(session.sessionId, "1")).rejects.toMatchObject({ code: "session_not_found" });
  await expect(stranger.getSession(session.sessionId)).rejects.toMatchObject({ code: "session_not_found" });
  expect(await stranger.sessionStatus(session.sessionId)).toMatchObject({ exists: false });
  await expect(stranger.kill(session.sessionId)).rejects.toMatchObject({ code: "forbidden" });
  expect(await session.python("6 * 7")).toMatchObject({ stdout: "42\n" });
});

test("a body that is not what execute takes is refused with the field named", async () => {
  await using session = await TestSession.open(server);
  const good = { command: "print(1)", session_id: session.sessionId };
  const wrong: [object, string][] = [
    [{ ...good, command: "" }, "command"],
    [{ ...good, command: 5 }, "command"],
    [{ ...good, command: "a\0b" }, "command"],
    [{ session_id: good.session_id }, "command"],
    [{ command: good.command }, "session_id"],
    [{ ...good, language: "cobol" }, "language"],
    [{ ...good, timeout: 0 }, "timeout"],
    [{ ...good, timeout: 601 }, "timeout"],
    [{ ...good, timeout: "soon" }, "timeout"],
  ];
  for (const [body, field] of wrong) {
    expect(await refusal(session, body)).toMatchObject({
      status: 422,
      body: {
        code: "invalid",
        detail: expect.stringContaining(field),
        errors: [expect.objectContaining({ loc: ["body", field] })],
      },
    });
  }
});

test("a body that is no JSON is a 400", async () => {
  await using session = await TestSession.open(server);
  for (const body of ["{", "not json", `{"command": "1",}`, "\u0000"]) {
    expect(await refusal(session, body)).toMatchObject({ status: 400, body: { code: "bad_request" } });
  }
  expect(await refusal(session, "[]")).toMatchObject({ status: 422, body: { code: "invalid" } });
  const form = {
    method: "POST",
    body: "command=1",
    headers: { "x-api-key": server.apiKey, "content-type": "text/plain" },
  };
  expect(await rawCall(server, "/execute", form)).toMatchObject({ status: 400, body: { code: "bad_request" } });
});

test("20 MiB of code are refused as too large, with the limit", async () => {
  await using session = await TestSession.open(server);
  const body = { command: `#${"x".repeat(20 * mib)}`, session_id: session.sessionId };
  expect(await refusal(session, body)).toMatchObject({
    status: 413,
    body: { code: "too_large", detail: expect.stringContaining(String(8 * mib)) },
  });
});

test("a body beyond every limit is refused without being read", async () => {
  await using session = await TestSession.open(server);
  const body = { command: "x".repeat(64 * mib), session_id: session.sessionId };
  await expect(session.client.execute(session.sessionId, body.command)).rejects.toMatchObject({ code: "too_large" });
  expect(await session.python("6 * 7")).toMatchObject({ stdout: "42\n" });
});

test("200 KiB of code run in both languages, also when the language is not said", async () => {
  await using session = await TestSession.open(server);
  const text = "x".repeat(200 * 1024);
  const length = `${text.length}\n`;
  expect(await session.python(`text = "${text}"\nprint(len(text))`)).toMatchObject({ stdout: length });
  expect(await session.bash(`text="${text}"\necho \${#text}`)).toMatchObject({ stdout: length });
  expect(await session.run(`text = "${text}"\nlen(text)`)).toMatchObject({ language: "python", stdout: length });
  expect(await session.run(`: "${text}"; echo done`)).toMatchObject({ language: "bash", stdout: "done\n" });
});

test("5 MiB of code run in both languages", async () => {
  await using session = await TestSession.open(server);
  const text = "x".repeat(5 * mib);
  const length = `${text.length}\n`;
  expect(await session.python(`text = "${text}"\nprint(len(text))`)).toMatchObject({ stdout: length });
  expect(await session.bash(`text="${text}"\necho \${#text}`)).toMatchObject({ stdout: length });
});

test("double and trailing slashes lead to the same place without a redirect", async () => {
  await using session = await TestSession.open(server);
  const { sessionId } = session;
  for (const path of ["/execute", "/execute/", "//execute", "//execute//"]) {
    const body = { command: "print(1)", session_id: sessionId };
    expect(await rawCall(server, path, { body })).toMatchObject({ status: 200, body: { stdout: "1\n" } });
  }
  for (const path of [
    `/v1/sessions/session/${sessionId}/`,
    `//v1//sessions/session/${sessionId}`,
    "/health/",
    "//health",
  ]) {
    expect(await rawCall(server, path)).toMatchObject({ status: 200 });
  }
  expect(await rawCall(server, "/nowhere")).toMatchObject({ status: 404, body: { code: "not_found" } });
});

test("a lifetime, a shape or an environment that cannot be had is refused before a VM starts", async () => {
  const vmsBefore = server.vmPids().length;
  const create = async (body: object) => await rawCall(server, "/v1/sessions/session", { body });
  expect(await create({ vm_lifetime_seconds: 86_401 })).toMatchObject({
    status: 403,
    body: { detail: expect.stringContaining("VM lifetime cannot exceed 86400s") },
  });
  for (const body of [
    { vm_lifetime_seconds: 19 },
    { memory_mb: 127 },
    { memory_mb: 8193 },
    { vcpu_count: 3 },
    { env: { "A=B": "x" } },
    { env: { A: "a\0b" } },
  ]) {
    expect(await create(body)).toMatchObject({ status: 422, body: { code: "invalid" } });
  }
  expect(server.vmPids()).toHaveLength(vmsBefore);
});

test("a client that leaves in the middle of a call disturbs nobody", async () => {
  await using session = await TestSession.open(server);
  await session.python("kept = 1");
  const leaving = new AbortController();
  const call = session.python("import time\nfor _ in range(600): time.sleep(0.1)", { signal: leaving.signal });
  await sleep(1000);
  leaving.abort();
  await expect(call).rejects.toMatchObject({ name: "AbortError" });
  expect(await session.python("kept")).toMatchObject({ stdout: "1\n", exitCode: 0 });
});

/** Gives a user a key, as an admin would if there were a call for it. */
function addKey(of: RealServer, label: string): string {
  const key = `ivm_${label}`;
  using records = new DatabaseSync(join(of.stateDirectory, "records.db"));
  records
    .prepare("insert into keys (role, label, hash, created_at_ms) values ('user', ?, ?, ?)")
    .run(label, createHash("sha256").update(key).digest("hex"), Date.now());
  return key;
}
