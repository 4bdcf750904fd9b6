import { forkCount, forkVmResponseSchema, vmLifetimeS, vmSchema } from "@instavm/contract";
import type { Vm } from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { startWorldApi } from "../testing/world-api.ts";
import type { WorldApi } from "../testing/world-api.ts";

interface Asked {
  readonly body?: unknown;
  readonly key?: string;
  readonly idempotencyKey?: string;
}

/** A server whose VMs can be forked, and one of them, in which `x` is 41. */
async function startForking(): Promise<{ server: WorldApi; source: Vm } & AsyncDisposable> {
  const server = await startWorldApi();
  const body = { name: "source", metadata: { team: "a" }, env: { A: "1" }, vm_lifetime_seconds: 1000 };
  const source = vmSchema.parse((await server.call("POST", "/v1/vms", { body })).body);
  await execute(server, source, "x = 41");
  server.world.room.fork = { isPossible: true };
  return { server, source, [Symbol.asyncDispose]: async () => server[Symbol.asyncDispose]() };
}

/** Copies take some of the world's time. */
async function post(server: WorldApi, path: string, { body = {}, key, idempotencyKey }: Asked = {}) {
  const call = { isOver: false };
  const headers = {
    "x-api-key": key ?? server.api.keys.adminKey,
    "content-type": "application/json",
    ...(idempotencyKey === undefined ? {} : { "idempotency-key": idempotencyKey }),
  };
  const answering = fetch(server.api.url + path, { method: "POST", headers, body: JSON.stringify(body) });
  void answering.catch(() => {}).then(() => (call.isOver = true));
  while (!call.isOver) await server.world.clock.advance(20);
  const answer = await answering;
  const content: unknown = await answer.json();
  return { status: answer.status, body: content };
}

async function fork(server: WorldApi, source: Vm, body?: unknown): Promise<readonly Vm[]> {
  const answer = await post(server, `/v1/vms/${source.vm_id}/fork`, { body });
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  return forkVmResponseSchema.parse(answer.body).vms;
}

async function execute(server: WorldApi, vm: Vm, command: string): Promise<string> {
  const body = { session_id: vm.session_id, command, language: "python" };
  const answer = await server.call("POST", "/execute", { body });
  return z.object({ stdout: z.string() }).parse(answer.body).stdout;
}

async function vmCount(server: WorldApi): Promise<number> {
  return z.array(vmSchema).parse((await server.call("GET", "/v1/vms")).body).length;
}

describe("POST /v1/vms/{vm_id}/fork", () => {
  it("makes one copy when nothing is said, with a session, a lifetime and an id of its own", async () => {
    await using forking = await startForking();
    const { server, source } = forking;
    const [copy, ...more] = await fork(server, source);
    expect(more).toEqual([]);
    expect(copy).toMatchObject({
      status: "active",
      name: null,
      metadata: { team: "a" },
      start: "fork",
      forked_from: source.vm_id,
      snapshot_id: null,
      vm_lifetime_seconds: 1000,
      memory_mb: source.memory_mb,
    });
    expect(source.forked_from).toBeNull();
    expect(copy?.session_id).not.toBe(source.session_id);
    expect((await server.call("GET", `/v1/vms/${copy?.vm_id}`)).body).toEqual(copy);
    expect(await execute(server, copy ?? source, "print(x)")).toBe("41\n");
    await server.call("DELETE", `/v1/vms/${source.vm_id}`);
    expect(await execute(server, copy ?? source, "print(x)")).toBe("41\n");
  });

  it("makes as many as are asked for, each with what is added", async () => {
    await using forking = await startForking();
    const { server, source } = forking;
    const body = { count: 5, name: "copy", metadata: { n: 1 }, env: { B: "2" }, vm_lifetime_seconds: 60 };
    const copies = await fork(server, source, body);
    expect(new Set(copies.flatMap((copy) => [copy.vm_id, copy.session_id])).size).toBe(10);
    for (const copy of copies) {
      expect(copy).toMatchObject({ name: "copy", metadata: { team: "a", n: 1 }, vm_lifetime_seconds: 60 });
      expect(await execute(server, copy, "print(env(A))")).toBe("1\n");
      expect(await execute(server, copy, "print(env(B))")).toBe("2\n");
    }
    expect(await vmCount(server)).toBe(6);
  });

  it("is done once for one Idempotency-Key", async () => {
    await using forking = await startForking();
    const { server, source } = forking;
    const path = `/v1/vms/${source.vm_id}/fork`;
    const named = { body: { count: 2 }, idempotencyKey: "fork-once" };
    const answers = [await post(server, path, named), await post(server, path, named)];
    expect(answers[1]).toEqual(answers[0]);
    expect(await vmCount(server)).toBe(3);
    expect(await post(server, path, { ...named, body: { count: 3 } })).toMatchObject({
      status: 422,
      body: { code: "idempotency_key_reused" },
    });
  });

  it.each([
    { count: forkCount.max + 1 },
    { count: 0 },
    { count: 1.5 },
    { count: "2" },
    { name: "" },
    { env: { "A=B": "" } },
    { metadata: [] },
    { vm_lifetime_seconds: 1 },
    { colour: "red" },
  ])("refuses %j by the name of the field", async (body) => {
    await using forking = await startForking();
    const { server, source } = forking;
    expect(await post(server, `/v1/vms/${source.vm_id}/fork`, { body })).toMatchObject({
      status: 422,
      body: { code: "invalid", detail: expect.stringContaining(Object.keys(body)[0] ?? "") },
    });
    expect(await vmCount(server)).toBe(1);
  });

  it("refuses too long a lifetime as a create does", async () => {
    await using forking = await startForking();
    const { server, source } = forking;
    const body = { vm_lifetime_seconds: vmLifetimeS.max + 1 };
    expect(await post(server, `/v1/vms/${source.vm_id}/fork`, { body })).toMatchObject({
      status: 403,
      body: { code: "limit_exceeded", detail: expect.stringMatching(/^VM lifetime cannot exceed 604800s/) },
    });
  });

  it("says why a VM cannot be forked, and leaves nothing", async () => {
    await using forking = await startForking();
    const { server, source } = forking;
    server.world.room.fork = { isPossible: false, reason: "a VM under KVM belongs to one address space" };
    for (const path of [`/v1/vms/${source.vm_id}/fork`, `/v1/vms/${source.vm_id}/clone`]) {
      expect(await post(server, path)).toMatchObject({
        status: 409,
        body: { code: "not_forkable", detail: expect.stringContaining("under KVM"), next: expect.any(String) },
      });
    }
    expect(server.world.remains()).toMatchObject({ processes: 1, directories: 1, liveSessionRecords: 1 });
  });

  it("knows neither another key's VM nor one that has ended", async () => {
    await using forking = await startForking();
    const { server, source } = forking;
    const unknown = { status: 404, body: { code: "vm_not_found" } };
    for (const path of [`/v1/vms/${source.vm_id}/fork`, `/v1/vms/${source.vm_id}/clone`]) {
      expect(await post(server, path, { key: server.api.keys.userKey })).toMatchObject(unknown);
    }
    await server.call("DELETE", `/v1/vms/${source.vm_id}`);
    for (const path of [`/v1/vms/${source.vm_id}/fork`, `/v1/vms/${source.vm_id}/clone`, "/v1/vms/5b0f/fork"]) {
      expect(await post(server, path)).toMatchObject(unknown);
    }
  });
});

describe("POST /v1/vms/{vm_id}/clone", () => {
  it("makes one copy and gives its record, which names no snapshot", async () => {
    await using forking = await startForking();
    const { server, source } = forking;
    const answer = await post(server, `/v1/vms/${source.vm_id}/clone/?wait=true`, { body: { name: "copy" } });
    const copy = vmSchema.parse(answer.body);
    expect(copy).toMatchObject({ name: "copy", status: "active", forked_from: source.vm_id, snapshot_id: null });
    expect(await execute(server, copy, "print(x)")).toBe("41\n");
  });

  it("says that it takes no snapshot by a name yet", async () => {
    await using forking = await startForking();
    const { server, source } = forking;
    const body = { snapshot_name: "before" };
    expect(await post(server, `/v1/vms/${source.vm_id}/clone`, { body })).toMatchObject({
      status: 501,
      body: { code: "not_implemented", detail: expect.stringContaining("snapshot_name") },
    });
    expect(await vmCount(server)).toBe(1);
    expect(await post(server, `/v1/vms/${source.vm_id}/clone`, { body: { snapshot_name: null } })).toMatchObject({
      status: 200,
    });
  });
});
