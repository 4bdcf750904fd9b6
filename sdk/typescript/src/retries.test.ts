import type { ServerResponse } from "node:http";
import { createServer } from "node:net";
import { describe, expect, test } from "vitest";
import { InstaVm, InstaVmError } from "./index.ts";
import { vmAnswer } from "./testing/sample-answers.ts";
import { ScriptedServer, sendError, sendJson } from "./testing/scripted-server.ts";

const sessionId = "0b5c6a0e-3f63-4d9b-8c43-0c7a3f5e2a11";
const vmId = "q7v2kd0w9x3m1zr8tj5c";
const times = { created_at: "2026-01-02T03:04:05Z", expires_at: "2026-01-02T03:09:05Z" };
const ids = { id: sessionId, session_id: sessionId, vm_id: vmId };
const session = { ...ids, ...times, status: "active", start: "pool", ready_ms: 9 };
const vm = { ...vmAnswer, id: vmId, vm_id: vmId, session_id: sessionId };

/** A port that nobody listens on once it is closed. */
async function freePort(): Promise<{ readonly port: number; readonly close: () => Promise<void> }> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return { port, close: async () => await new Promise((resolve) => server.close(() => resolve())) };
}

test("a call that only reads is sent again after a failure that may pass", async () => {
  await using server = await ScriptedServer.start((_, response) => {
    if (server.received.length < 3) sendError(response, 503, "unavailable");
    else sendJson(response, []);
  });
  expect(await server.client.listSessions()).toEqual([]);
  expect(server.received.length).toBe(3);
});

test("a call that only reads is sent again when the connection breaks", async () => {
  await using server = await ScriptedServer.start((_, response) => {
    if (server.received.length === 1) response.destroy();
    else sendJson(response, []);
  });
  expect(await server.client.vms.list()).toEqual([]);
});

test("the last failure is thrown when every try failed", async () => {
  await using server = await ScriptedServer.start((_, response) => {
    sendError(response, 503, "capacity");
  });
  await expect(server.client.listSessions()).rejects.toMatchObject({ code: "capacity", requestId: "r1" });
  expect(server.received.length).toBe(3);
});

test.each([
  ["503", (response: ServerResponse) => sendError(response, 503, "vm_lost")],
  ["502", (response: ServerResponse) => response.writeHead(502).end("<html>")],
  ["no answer", (response: ServerResponse) => response.destroy()],
])("a call that may have changed something is sent once: %s", async (_, fail) => {
  await using server = await ScriptedServer.start((__, response) => {
    fail(response);
  });
  await expect(server.client.execute(sessionId, "count += 1")).rejects.toThrow(InstaVmError);
  await expect(server.client.vms.update(vmId, { name: "n" })).rejects.toThrow(InstaVmError);
  await expect(server.client.apiKeys.create({ description: "d" })).rejects.toThrow(InstaVmError);
  expect(server.received.map(({ headers }) => headers["idempotency-key"])).toEqual([undefined, undefined, undefined]);
});

test("a call that was refused before it began is sent again", async () => {
  await using server = await ScriptedServer.start((_, response) => {
    if (server.received.length === 1) sendError(response, 503, "capacity");
    else if (server.received.length === 2) sendError(response, 429, "rate_limited");
    else sendError(response, 404, "session_not_found");
  });
  await expect(server.client.execute(sessionId, "count += 1")).rejects.toMatchObject({ code: "session_not_found" });
  expect(server.received.length).toBe(3);
});

test("a call is sent again when the server was not there to see it", async () => {
  const { port, close } = await freePort();
  await close();
  const client = new InstaVm({ baseUrl: `http://127.0.0.1:${port}`, apiKey: "key" });
  const calling = client.kill(sessionId);
  await using server = await ScriptedServer.start(
    (_, response) => sendJson(response, { message: "Killed.", session_id: sessionId, vm_id: vmId, status: "killed" }),
    port,
  );
  expect(await calling).toMatchObject({ sessionId });
  expect(server.received.length).toBe(1);
});

test("a stream that was sent is not sent again", async () => {
  await using server = await ScriptedServer.start((_, response) => sendError(response, 503, "capacity"));
  const content = new Blob(["bytes"]).stream();
  await expect(server.client.vms.files(vmId).write("f", content)).rejects.toMatchObject({ code: "capacity" });
  expect(server.received.length).toBe(1);
});

describe("what creates", () => {
  const calls = [
    ["a session", async (client: InstaVm) => (await client.createSession()).sessionId],
    ["a VM", async (client: InstaVm) => (await client.vms.create()).sessionId],
    ["a VM in the server's words", async (client: InstaVm) => (await client.call("createVm")).session_id],
  ] as const;

  test.each(calls)("%s is sent again, under one key, until it is answered", async (_, create) => {
    await using server = await ScriptedServer.start(({ path }, response) => {
      if (server.received.length === 1) response.destroy();
      else if (server.received.length === 2) response.writeHead(502).end("<html>");
      else if (server.received.length === 3) sendError(response, 503, "unavailable");
      else sendJson(response, path === "/v1/vms" ? vm : session);
    });
    const client = new InstaVm({ baseUrl: server.baseUrl, apiKey: "key", retries: 3 });
    expect(await create(client)).toBe(sessionId);
    const keys = server.received.map(({ headers }) => headers["idempotency-key"]);
    expect(keys[0]).toMatch(/^[0-9a-f-]{36}$/);
    expect(keys).toEqual([keys[0], keys[0], keys[0], keys[0]]);
    await create(client);
    expect(server.received.at(-1)?.headers["idempotency-key"]).not.toBe(keys[0]);
  });

  test("is given up when another try would meet the same, and after the last try", async () => {
    await using server = await ScriptedServer.start((_, response) => {
      const lasting = ["host_setup", "disk_full"][server.received.length - 1];
      sendError(response, 503, lasting ?? "unavailable");
    });
    await expect(server.client.createSession()).rejects.toMatchObject({ code: "host_setup" });
    await expect(server.client.createSession()).rejects.toMatchObject({ code: "disk_full" });
    expect(server.received.length).toBe(2);
    await expect(server.client.createSession()).rejects.toMatchObject({ code: "unavailable" });
    expect(server.received.length).toBe(5);
  });

  test("ends at once when a wait would not end before the deadline", async () => {
    await using server = await ScriptedServer.start((_, response) => {
      response.setHeader("retry-after", "8");
      sendError(response, 429, "rate_limited");
    });
    const begun = performance.now();
    const created = server.client.createSession({ timeoutMs: 6000 });
    await expect(created).rejects.toMatchObject({ retryAfterS: 8 });
    expect(performance.now() - begun).toBeLessThan(4000);
  });
});

test("a failure that stays is not asked for again", async () => {
  await using server = await ScriptedServer.start((_, response) => {
    sendError(response, 404, "vm_not_found");
  });
  await expect(server.client.vms.get("q7v2kd0w9x3m1zr8tj5c")).rejects.toMatchObject({ code: "vm_not_found" });
  expect(server.received.length).toBe(1);
});

test("an abort ends the wait for the next try, with the caller's reason", async () => {
  const abort = new AbortController();
  await using server = await ScriptedServer.start((_, response) => {
    response.setHeader("retry-after", "5");
    sendError(response, 503, "capacity");
    setTimeout(() => {
      abort.abort(new RangeError("enough"));
    }, 50).unref();
  });
  const begun = performance.now();
  await expect(server.client.listSessions({ signal: abort.signal })).rejects.toThrow("enough");
  expect(performance.now() - begun).toBeLessThan(4000);
});

test("all tries together end at the deadline", async () => {
  await using server = await ScriptedServer.start(() => undefined);
  await expect(server.client.health({ timeoutMs: 50 })).rejects.toMatchObject({ code: "timeout", status: 408 });
  expect(server.received.length).toBe(1);
});
