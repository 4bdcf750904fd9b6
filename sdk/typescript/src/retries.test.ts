import { expect, test } from "vitest";
import { ScriptedServer, sendError, sendJson } from "./testing/scripted-server.ts";

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

test("a call that changes something is sent once", async () => {
  await using server = await ScriptedServer.start((_, response) => {
    sendError(response, 503, "vm_lost");
  });
  const id = "0b5c6a0e-3f63-4d9b-8c43-0c7a3f5e2a11";
  await expect(server.client.execute(id, "count += 1")).rejects.toMatchObject({ code: "vm_lost" });
  await expect(server.client.createSession()).rejects.toMatchObject({ code: "vm_lost" });
  await expect(server.client.vms.delete("q7v2kd0w9x3m1zr8tj5c")).rejects.toMatchObject({ code: "vm_lost" });
  expect(server.received.length).toBe(3);
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
