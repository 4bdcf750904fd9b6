import { contextSchema, vmSchema } from "@instavm/contract";
import type { Context, Vm } from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { eventsOf } from "../testing/events.ts";
import { startWorldApi } from "../testing/world-api.ts";
import type { WorldApi } from "../testing/world-api.ts";

interface Opened extends AsyncDisposable {
  readonly server: WorldApi;
  readonly vm: Vm;
  readonly path: string;
}

async function open(): Promise<Opened> {
  const server = await startWorldApi();
  const vm = vmSchema.parse((await server.call("POST", "/v1/vms", { body: {} })).body);
  const path = `/v1/vms/${vm.vm_id}/contexts`;
  return { server, vm, path, [Symbol.asyncDispose]: async () => server[Symbol.asyncDispose]() };
}

async function create({ server, path }: Opened, body: unknown): Promise<Context> {
  const answer = await server.call("POST", path, { body });
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  return contextSchema.parse(answer.body);
}

describe("/v1/vms/{vm_id}/contexts", () => {
  it("makes, lists, reads and deletes contexts", async () => {
    await using opened = await open();
    const { server, vm, path } = opened;
    const made = await create(opened, { language: "javascript", cwd: "/tmp", env: { A: "1" } });
    expect(made).toEqual({
      id: made.context_id,
      context_id: made.context_id,
      vm_id: vm.vm_id,
      language: "javascript",
      cwd: "/tmp",
      is_busy: false,
    });
    const plain = await create(opened, { language: "bash", cwd: null, env: null });
    expect(plain).toMatchObject({ language: "bash", cwd: "/root" });
    const listed = z.array(contextSchema).parse((await server.call("GET", path)).body);
    expect(listed).toEqual([made, plain]);
    expect((await server.call("GET", `${path}/${made.context_id}`)).body).toEqual(made);
    expect(await server.call("POST", `${path}/${made.context_id}/restart`)).toEqual({ status: 200, body: made });
    expect(await server.call("POST", `${path}/${made.context_id}/interrupt`)).toEqual({ status: 200, body: made });
    expect(await server.call("DELETE", `${path}/${made.context_id}`)).toMatchObject({
      status: 200,
      body: { id: made.context_id, vm_id: vm.vm_id },
    });
    for (const [method, rest] of [
      ["GET", ""],
      ["DELETE", ""],
      ["POST", "/restart"],
      ["POST", "/interrupt"],
    ] as const) {
      const answer = await server.call(method, `${path}/${made.context_id}${rest}`);
      expect(answer).toMatchObject({ status: 404, body: { code: "context_not_found" } });
    }
  });

  it("refuses what no context can be by the name of the field", async () => {
    await using opened = await open();
    const { server, path } = opened;
    for (const [body, field] of [
      [{}, "language"],
      [{ language: "ruby" }, "language"],
      [{ language: "bash", cwd: "here" }, "cwd"],
      [{ language: "bash", cwd: "/a\0" }, "cwd"],
      [{ language: "bash", env: { "A B": "1" } }, "env"],
    ] as const) {
      const answer = await server.call("POST", path, { body });
      expect(answer).toMatchObject({ status: 422, body: { code: "invalid" } });
      expect(JSON.stringify(answer.body)).toContain(field);
    }
    expect(await server.call("POST", path, { body: { language: "bash", cwd: "/missing" } })).toMatchObject({
      status: 422,
    });
    for (const id of ["UPPER", "..%2fx", "a%00b", "x".repeat(65)]) {
      const answer = await server.call("GET", `${path}/${id}`);
      expect(answer, id).toMatchObject({ status: 404, body: { code: "context_not_found" } });
    }
  });

  it("answers another key as if there were no such VM", async () => {
    await using opened = await open();
    const { server, path } = opened;
    const key = server.api.keys.userKey;
    for (const [method, rest, body] of [
      ["POST", "", { language: "bash" }],
      ["GET", "", undefined],
      ["GET", "/python", undefined],
      ["DELETE", "/python", undefined],
      ["POST", "/python/restart", undefined],
      ["POST", "/python/interrupt", undefined],
    ] as const) {
      const answer = await server.call(method, path + rest, { key, ...(body === undefined ? {} : { body }) });
      expect(answer).toMatchObject({ status: 404, body: { code: "vm_not_found" } });
    }
  });

  it("says how many there may be", async () => {
    await using opened = await open();
    for (let count = 0; count < 32; count += 1) await create(opened, { language: "bash" });
    const answer = await opened.server.call("POST", opened.path, { body: { language: "bash" } });
    expect(answer).toMatchObject({
      status: 403,
      body: { code: "limit_exceeded", detail: expect.stringMatching("32") },
    });
  });
});

describe("code with a context_id", () => {
  it("runs there, at once, as events and in the background", async () => {
    await using opened = await open();
    const { server, vm } = opened;
    const { context_id } = await create(opened, { language: "python" });
    const body = { session_id: vm.session_id, context_id };
    const run = (command: string) => server.call("POST", "/execute", { body: { ...body, command } });
    expect(await run("x = 5")).toMatchObject({ status: 200, body: { language: "python" } });
    expect(await run("print(x)")).toMatchObject({ body: { stdout: "5\n" } });
    const plain = { session_id: vm.session_id, command: "print(x)" };
    expect((await server.call("POST", "/execute", { body: plain })).body).toMatchObject({ stdout: "x\n" });
    const streamed = await server.api.post(
      "/execute",
      { ...body, command: "print(x)" },
      { accept: "text/event-stream" },
    );
    expect(eventsOf(await streamed.text())[0]).toEqual({ event: "stdout", data: { text: "5\n" } });
    const task = await server.call("POST", "/execute_async", { body: { ...body, command: "print(x)" } });
    const { task_id } = z.object({ task_id: z.string() }).parse(task.body);
    await expect
      .poll(async () => (await server.call("GET", `/v1/executions/${task_id}`)).body)
      .toMatchObject({ serialized_stdout: "5\n" });
  });

  it("is not found in a context that there is not", async () => {
    await using opened = await open();
    const body = { session_id: opened.vm.session_id, context_id: "python-9", command: "1" };
    const answer = await opened.server.call("POST", "/execute", { body });
    expect(answer).toMatchObject({ status: 404, body: { code: "context_not_found" } });
    const invalid = await opened.server.call("POST", "/execute", { body: { ...body, context_id: "no id" } });
    expect(invalid).toMatchObject({ status: 422, body: { code: "invalid" } });
  });
});
