import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { rawCall } from "./support/raw-call.ts";
import { RealServer } from "./support/real-server.ts";

let server: RealServer;

beforeAll(async () => {
  server = await RealServer.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

async function create(name: string, body: object = {}, path = "/v1/sessions/session") {
  const headers = { "x-api-key": server.apiKey, "idempotency-key": name };
  const answer = await rawCall(server, path, { body, headers });
  return { ...answer, replayed: answer.headers.get("idempotent-replayed") };
}

async function liveVms(): Promise<number> {
  const { body } = await rawCall(server, "/v1/vms");
  return Array.isArray(body) ? body.length : Number.NaN;
}

test("creates of one name at the same time start one VM, and all get its session", async () => {
  const name = randomUUID();
  const before = await liveVms();
  const answers = await Promise.all(Array.from({ length: 5 }, async () => await create(name)));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
  expect(new Set(answers.map(({ body }) => JSON.stringify(body))).size).toBe(1);
  expect(answers.filter(({ replayed }) => replayed === "true")).toHaveLength(4);
  expect(await liveVms()).toBe(before + 1);
  expect(server.vmPids()).toHaveLength(before + 1);
});

test("a VM's create is repeated as it was answered, also after the server was killed", async () => {
  const name = randomUUID();
  const body = { name: "named", metadata: { a: [1, { b: "ü" }] } };
  const first = await create(name, body, "/v1/vms");
  expect(first).toMatchObject({ status: 200, replayed: null, body: { name: "named" } });
  await server.crash();
  await server.startAgain();
  expect(await create(name, body, "/v1/vms")).toMatchObject({ status: 200, replayed: "true", body: first.body });
  expect(await create(name, { ...body, name: "other" }, "/v1/vms")).toMatchObject({
    status: 422,
    body: { code: "idempotency_key_reused" },
  });
});

test("a client that gave up finds its session, or none is left, when it asks again", async () => {
  const before = await liveVms();
  const name = randomUUID();
  const headers = { "x-api-key": server.apiKey, "content-type": "application/json", "idempotency-key": name };
  for (const patienceMs of [5, 30, 100, 300]) {
    const init = { method: "POST", body: "{}", headers, signal: AbortSignal.timeout(patienceMs) };
    await fetch(`${server.baseUrl}/v1/sessions/session`, init).catch(() => undefined);
  }
  const last = await create(name);
  expect(last).toMatchObject({ status: 200 });
  await sleep(500);
  expect(await liveVms()).toBe(before + 1);
  expect(server.vmPids()).toHaveLength(before + 1);
  expect(await create(name)).toMatchObject({ replayed: "true", body: last.body });
});
