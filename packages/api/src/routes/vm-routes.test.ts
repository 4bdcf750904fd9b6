import { deleteVmResponseSchema, sessionUsageSchema, vmLifetimeS, vmSchema } from "@instavm/contract";
import type { Vm } from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { startWorldApi } from "../testing/world-api.ts";
import type { WorldApi } from "../testing/world-api.ts";

async function create(server: WorldApi, body: unknown = {}): Promise<Vm> {
  const answer = await server.call("POST", "/v1/vms?wait=true", { body });
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  return vmSchema.parse(answer.body);
}

async function list(server: WorldApi, path: string, key?: string): Promise<readonly Vm[]> {
  const answer = await server.call("GET", path, key === undefined ? {} : { key });
  return z.array(vmSchema).parse(answer.body);
}

describe("POST /v1/vms", () => {
  it("starts a VM whose session is ready for code", async () => {
    await using server = await startWorldApi();
    const vm = await create(server, {
      name: "worker",
      metadata: { team: "a" },
      memory_mb: 256,
      vcpu_count: 1,
      vm_lifetime_seconds: 604_800,
      env: { A: "1" },
    });
    expect(vm).toMatchObject({
      id: vm.vm_id,
      name: "worker",
      metadata: { team: "a" },
      memory_mb: 256,
      vcpu_count: 1,
      status: "active",
      ssh_host: null,
      snapshot_id: null,
    });
    expect(Date.parse(vm.expires_at) - Date.parse(vm.created_at)).toBe(604_800_000);
    const run = await server.call("POST", "/execute", {
      body: { session_id: vm.session_id, command: "print(1)", language: "python" },
    });
    expect(run).toMatchObject({ status: 200, body: { vm_id: vm.vm_id, exit_code: 0 } });
    const sandboxes = await server.call("GET", "/v1/sessions/sandboxes");
    expect(sandboxes.body).toMatchObject([{ vm_id: vm.vm_id, name: "worker" }]);
  });

  it("has a default for everything", async () => {
    await using server = await startWorldApi();
    expect(await create(server)).toMatchObject({ name: null, memory_mb: 512, vcpu_count: 2, vm_lifetime_seconds: 300 });
  });

  it("refuses too long a lifetime with the sentence that clients read the limit from", async () => {
    await using server = await startWorldApi();
    const answer = await server.call("POST", "/v1/vms", { body: { vm_lifetime_seconds: vmLifetimeS.max + 1 } });
    expect(answer).toMatchObject({
      status: 403,
      body: { code: "limit_exceeded", detail: expect.stringMatching(/^VM lifetime cannot exceed 604800s/) },
    });
  });

  it.each([
    { snapshot_id: "s" },
    { image_variant: "computer-use" },
    { volumes: [{ name: "v", mount_path: "/data" }] },
    { egress_policy: { allow_http: true } },
    { egress_policy: { allowed_domains: ["example.com"] } },
    { vault_ids: ["v"] },
    { auto_suspend: true },
    { auto_resume: true },
    { snapshot_on_terminate: true },
    { snapshot_name: "s" },
    { share: { port: 80 } },
    { custom_domain: "example.com" },
  ])("says that it cannot do %j, and starts nothing", async (body) => {
    await using server = await startWorldApi();
    const answer = await server.call("POST", "/v1/vms", { body });
    expect(answer).toMatchObject({
      status: 501,
      body: { code: "not_implemented", detail: expect.stringContaining(Object.keys(body)[0] ?? "") },
    });
    expect(await list(server, "/v1/vms/")).toEqual([]);
  });

  it("takes values that ask for nothing", async () => {
    await using server = await startWorldApi();
    const vm = await create(server, {
      snapshot_id: null,
      image_variant: "standard",
      volumes: [],
      egress_policy: { allow_http: false, allow_https: false, allow_public_repos: false, allowed_domains: [] },
      vault_ids: [],
      auto_suspend: false,
      auto_resume: false,
      snapshot_on_terminate: false,
    });
    expect(vm).toMatchObject({ status: "active", image_variant: "standard" });
  });

  it("gives a session a VM: the one that it has, or a fresh one when that is dead", async () => {
    await using server = await startWorldApi();
    const first = await create(server);
    const same = await create(server, { session_id: first.session_id, name: "named", vm_lifetime_seconds: 900 });
    expect(same).toMatchObject({ vm_id: first.vm_id, name: "named", vm_lifetime_seconds: 900 });
    server.world.room.processes.get(first.vm_id)?.end({ kind: "signalled", signal: 9 });
    const fresh = await create(server, { session_id: first.session_id });
    expect(fresh.session_id).toBe(first.session_id);
    expect(fresh.vm_id).not.toBe(first.vm_id);
    const records = await list(server, "/v1/vms/");
    expect(records.map(({ vm_id: id, status }) => [id, status])).toEqual([
      [fresh.vm_id, "active"],
      [first.vm_id, "failed"],
    ]);
  });

  it.each([{ memory_mb: 1024 }, { vcpu_count: 1 }, { env: { A: "1" } }])(
    "refuses a session whose VMs are made otherwise than %j",
    async (difference) => {
      await using server = await startWorldApi();
      const { session_id: sessionId } = await create(server);
      const answer = await server.call("POST", "/v1/vms", { body: { session_id: sessionId, ...difference } });
      expect(answer).toMatchObject({ status: 409, body: { code: "conflict" } });
    },
  );

  it("knows neither another key's session nor one that has ended", async () => {
    await using server = await startWorldApi();
    const { session_id: sessionId } = await create(server);
    const body = { session_id: sessionId };
    const { userKey } = server.api.keys;
    expect(await server.call("POST", "/v1/vms", { body, key: userKey })).toMatchObject({ status: 404 });
    await server.call("POST", "/kill", { body });
    expect(await server.call("POST", "/v1/vms", { body })).toMatchObject({ status: 404 });
  });
});

describe("the two lists of VMs", () => {
  it("are the live ones without a slash, all with one; each key sees its own, newest first", async () => {
    await using server = await startWorldApi();
    const made = [await create(server), await create(server), await create(server)].map(({ vm_id: id }) => id);
    await server.call("DELETE", `/v1/vms/${made[1]}`);
    const ids = async (path: string): Promise<readonly string[]> =>
      (await list(server, path)).map(({ vm_id: id }) => id);
    expect(await ids("/v1/vms")).toEqual([made[2], made[0]]);
    expect(await ids("/v1/vms/")).toEqual(made.toReversed());
    expect(await ids("//v1//vms//")).toEqual(made.toReversed());
    expect(await ids("/v1/vms/?limit=1")).toEqual([made[2]]);
    const { userKey } = server.api.keys;
    expect(await list(server, "/v1/vms", userKey)).toEqual([]);
    expect(await list(server, "/v1/vms/", userKey)).toEqual([]);
  });
});

describe("one VM", () => {
  it("is changed in what can change", async () => {
    await using server = await startWorldApi();
    const { vm_id: id, session_id: sessionId } = await create(server, { name: "a", metadata: { x: 1 } });
    const path = `/v1/vms/${id}`;
    const body = { name: "b", metadata: { y: 2 }, vm_lifetime_seconds: 1000, memory_mb: 512, auto_suspend: false };
    const changed = vmSchema.parse((await server.call("PATCH", path, { body })).body);
    expect(changed).toMatchObject({ name: "b", metadata: { y: 2 }, vm_lifetime_seconds: 1000 });
    expect((await server.call("GET", path)).body).toEqual(changed);
    expect((await server.call("PATCH", path, { body: { name: null } })).body).toMatchObject({ name: null });
    await server.world.clock.advance(600_000);
    expect((await server.call("GET", path)).body).toMatchObject({ status: "active" });
    await server.world.clock.advance(500_000);
    expect((await server.call("GET", path)).body).toMatchObject({ status: "terminated" });
    expect((await server.call("GET", `/v1/sessions/session/${sessionId}`)).body).toMatchObject({ status: "expired" });
  });

  it("says what cannot change", async () => {
    await using server = await startWorldApi();
    const { vm_id: id } = await create(server);
    const patch = async (body: unknown): Promise<unknown> => {
      const answer = await server.call("PATCH", `/v1/vms/${id}`, { body });
      return [answer.status, z.object({ code: z.string() }).parse(answer.body).code];
    };
    expect(await patch({ memory_mb: 1024 })).toEqual([409, "conflict"]);
    expect(await patch({ vcpu_count: 4 })).toEqual([409, "conflict"]);
    expect(await patch({ env: { A: "1" } })).toEqual([409, "conflict"]);
    expect(await patch({ auto_resume: true })).toEqual([501, "not_implemented"]);
    expect(await patch({ vm_lifetime_seconds: 700_000 })).toEqual([403, "limit_exceeded"]);
    expect(await patch({ colour: "red" })).toEqual([422, "invalid"]);
    await server.world.clock.advance(100_000);
    expect(await patch({ vm_lifetime_seconds: 60 })).toEqual([409, "conflict"]);
    await server.call("DELETE", `/v1/vms/${id}`);
    expect(await patch({ name: "late" })).toEqual([409, "conflict"]);
  });

  it("is ended with its session, and ending it again changes nothing", async () => {
    await using server = await startWorldApi();
    const { vm_id: id, session_id: sessionId } = await create(server);
    for (const _ of [1, 2]) {
      const answer = await server.call("DELETE", `/v1/vms/${id}/`);
      expect(answer.status).toBe(200);
      expect(deleteVmResponseSchema.parse(answer.body)).toMatchObject({ vm_id: id, status: "terminated" });
    }
    expect((await server.call("GET", `/v1/vms/${id}`)).body).toMatchObject({ status: "terminated" });
    expect((await server.call("GET", `/v1/sessions/session/${sessionId}`)).body).toMatchObject({ status: "killed" });
    expect(server.world.remains().processes).toBe(0);
  });

  it("does not exist for another key, nor under an id that nothing can have", async () => {
    await using server = await startWorldApi();
    const { vm_id: id } = await create(server);
    const { userKey } = server.api.keys;
    const strange = ["zzzzzzzzzzzzzzzzzzzz", "5b0f9b5c-3c07-4d53-9a0c-0d3d1e6f7a21", "%2e%2e%2fetc", "a%00b"];
    for (const path of [`/v1/vms/${id}`, ...strange.map((one) => `/v1/vms/${one}`)]) {
      const calls = [
        await server.call("GET", path, { key: userKey }),
        await server.call("PATCH", path, { key: userKey, body: { name: "mine" } }),
        await server.call("DELETE", path, { key: userKey }),
      ];
      for (const call of calls) expect(call).toMatchObject({ status: 404, body: { code: "vm_not_found" } });
    }
    expect((await server.call("GET", `/v1/vms/${id}`)).body).toMatchObject({ status: "active", name: null });
  });
});

describe("GET /v1/sessions/usage", () => {
  it("grows with each call, the VM's time and its process's, over all VMs of the session", async () => {
    await using server = await startWorldApi();
    const { session_id: sessionId } = await create(server, { memory_mb: 1024 });
    const usage = async (): Promise<z.output<typeof sessionUsageSchema>> =>
      sessionUsageSchema.parse((await server.call("GET", `/v1/sessions/usage/${sessionId}`)).body);
    const run = async (): Promise<void> => {
      const [process] = server.world.room.processes.values();
      if (process !== undefined) process.cpuMs += 1500;
      await server.call("POST", "/execute", { body: { session_id: sessionId, command: "print(1)" } });
      await server.world.clock.advance(10_000);
    };
    expect(await usage()).toMatchObject({ cpu_seconds: 0, executions: 0, egress_bytes: 0 });
    await run();
    expect(await usage()).toMatchObject({ cpu_seconds: 1.5, executions: 1 });
    const [process] = server.world.room.processes.values();
    process?.end({ kind: "signalled", signal: 9 });
    await run();
    await run();
    const last = await usage();
    expect(last).toMatchObject({ cpu_seconds: 3, executions: 3 });
    expect(last.wall_seconds).toBeGreaterThanOrEqual(30);
    expect(last.memory_gib_seconds).toBeCloseTo(last.wall_seconds, 3);
    await server.call("POST", "/kill", { body: { session_id: sessionId } });
    await server.world.clock.advance(60_000);
    expect(await usage()).toMatchObject({ ...last, wall_seconds: expect.any(Number) });
  });

  it("is of one's own sessions only", async () => {
    await using server = await startWorldApi();
    const { session_id: sessionId } = await create(server);
    const path = `/v1/sessions/usage/${sessionId}`;
    expect(await server.call("GET", path, { key: server.api.keys.userKey })).toMatchObject({
      status: 404,
      body: { code: "session_not_found" },
    });
  });
});
