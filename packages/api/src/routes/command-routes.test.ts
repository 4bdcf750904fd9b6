import { setTimeout as sleep } from "node:timers/promises";
import { commandSchema, vmSchema } from "@instavm/contract";
import type { Command, Vm } from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { eventsOf } from "../testing/events.ts";
import type { SeenEvent } from "../testing/events.ts";
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
  const path = `/v1/vms/${vm.vm_id}/commands`;
  return { server, vm, path, [Symbol.asyncDispose]: async () => server[Symbol.asyncDispose]() };
}

async function start({ server, path }: Opened, body: unknown): Promise<Command> {
  const answer = await server.call("POST", path, { body });
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  return commandSchema.parse(answer.body);
}

async function read({ server, path }: Opened, id: number, query = ""): Promise<readonly SeenEvent[]> {
  const answer = await server.api.get(`${path}/${id}/output?${query}`);
  expect(answer.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
  return eventsOf(await answer.text());
}

async function write({ server, path }: Opened, stdin: string, body: string): Promise<unknown> {
  const headers = { "content-type": "text/whatever" };
  const answer = await server.api.get(`${path}/${stdin}`, { method: "POST", body, headers });
  return answer.json();
}

describe("/v1/vms/{vm_id}/commands", () => {
  it("starts a program, writes to it, reads it and says how it ended", async () => {
    await using opened = await open();
    const { server, vm, path } = opened;
    const script = "echo begun; cat; error oops; exit 3";
    const started = await start(opened, { command: script, stdin: true, tag: "a tag", cwd: "/tmp", env: { A: "1" } });
    const id = started.command_id;
    expect(started).toMatchObject({
      id,
      vm_id: vm.vm_id,
      tag: "a tag",
      command: script,
      is_running: true,
      stdin_is_open: true,
      exit_code: null,
      signal: null,
      ended_at: null,
      execution_time: null,
    });
    expect(await write(opened, `${id}/stdin`, "one\n")).toEqual({ size: 4 });
    expect(await write(opened, `${id}/stdin?close=true`, "")).toEqual({ size: 0 });
    const events = await read(opened, id);
    expect(events.slice(0, -1)).toEqual([
      { event: "position", data: { offset: 0, dropped_bytes: 0 } },
      { event: "stdout", data: { text: "begun\n", offset: 0, next_offset: 6 } },
      { event: "stdout", data: { text: "one\n", offset: 6, next_offset: 10 } },
      { event: "stderr", data: { text: "oops\n", offset: 10, next_offset: 15 } },
    ]);
    const ended = (await server.call("GET", `${path}/${id}?wait=5`)).body;
    expect(ended).toMatchObject({ is_running: false, exit_code: 3, signal: null, output_bytes: 15, truncated: false });
    expect(events.at(-1)).toEqual({ event: "exit", data: ended });
    expect(await write(opened, `${id}/stdin`, "late")).toMatchObject({ code: "conflict" });
    expect(await server.call("DELETE", `${path}/${id}`)).toMatchObject({ status: 200, body: { command_id: id } });
    for (const [method, rest] of [
      ["GET", ""],
      ["DELETE", ""],
      ["POST", "/stdin"],
      ["POST", "/signal"],
      ["GET", "/output"],
    ] as const) {
      const answer = await server.call(method, `${path}/${id}${rest}`);
      expect(answer).toMatchObject({ status: 404, body: { code: "command_not_found" } });
    }
  });

  it("lists them, all or those of a tag", async () => {
    await using opened = await open();
    const one = await start(opened, { argv: ["sleep", "1000"], tag: "sleepers" });
    const other = await start(opened, { command: "forever" });
    expect(other.tag).toBeNull();
    const list = async (query: string) =>
      z.array(commandSchema).parse((await opened.server.call("GET", opened.path + query)).body);
    expect(await list("")).toEqual([one, other]);
    expect(await list("?tag=sleepers")).toEqual([one]);
    expect(await list("?tag=none")).toEqual([]);
  });

  it.each([
    [{ signal: "SIGINT" }, 2],
    [{ signal: 10 }, 10],
    [{}, 15],
  ])("sends the signal of %j", async (body, number) => {
    await using opened = await open();
    const { command_id: id } = await start(opened, { command: "forever" });
    const answer = await opened.server.call("POST", `${opened.path}/${id}/signal`, { body });
    expect(answer).toMatchObject({ status: 200, body: { signal: number, exit_code: 128 + number } });
  });

  it("refuses what cannot be by the name of the field, and before anything starts", async () => {
    await using opened = await open();
    const { server, path } = opened;
    for (const body of [
      {},
      { command: "" },
      { command: "a\0" },
      { command: "echo", argv: ["echo"] },
      { argv: [] },
      { argv: ["a\0"] },
      { argv: ["x".repeat(131_072)] },
      { command: "echo", cwd: "here" },
      { command: "echo", user: "no body" },
      { command: "echo", tag: "x".repeat(257) },
      { command: "echo", timeout: 0 },
      { command: "echo", timeout: 604_801 },
      { command: "echo", stdin: "yes" },
    ]) {
      const answer = await server.call("POST", path, { body });
      expect(answer, JSON.stringify(body)).toMatchObject({ status: 422, body: { code: "invalid" } });
    }
    const large = { command: "x".repeat(8 * 1024 * 1024 + 1) };
    expect(await server.call("POST", path, { body: large })).toMatchObject({ status: 413 });
    expect(await server.call("POST", path, { body: { argv: ["missing"] } })).toMatchObject({
      status: 404,
      body: { code: "file_not_found" },
    });
    for (const id of ["0", "-1", "1.5", "abc", "4294967296", "1e3x", "..%2f1"]) {
      const answer = await server.call("GET", `${path}/${id}`);
      expect(answer, id).toMatchObject({ status: 404, body: { code: "command_not_found" } });
    }
    for (const [method, rest] of [
      ["GET", "/1/output?offset=-1"],
      ["GET", "/1/output?follow=perhaps"],
      ["GET", "/1?wait=601"],
      ["POST", "/1/stdin?close=1"],
    ] as const) {
      expect(await server.call(method, path + rest), rest).toMatchObject({ status: 422 });
    }
    for (const signal of [0, 65, "SIGNOTHING", "15"]) {
      const answer = await server.call("POST", `${path}/1/signal`, { body: { signal } });
      expect(answer).toMatchObject({ status: 422 });
    }
    expect((await server.call("GET", path)).body).toEqual([]);
  });

  it("answers another key as if there were no such VM", async () => {
    await using opened = await open();
    const { server, path } = opened;
    const { command_id: id } = await start(opened, { command: "forever", stdin: true });
    const key = server.api.keys.userKey;
    for (const [method, rest, body] of [
      ["POST", "", { command: "echo" }],
      ["GET", "", undefined],
      ["GET", `/${id}?wait=10`, undefined],
      ["DELETE", `/${id}`, undefined],
      ["POST", `/${id}/stdin`, {}],
      ["POST", `/${id}/signal`, {}],
      ["GET", `/${id}/output`, undefined],
    ] as const) {
      const answer = await server.call(method, path + rest, { key, ...(body === undefined ? {} : { body }) });
      expect(answer).toMatchObject({ status: 404, body: { code: "vm_not_found" } });
    }
    expect((await server.call("GET", `${path}/${id}`)).body).toMatchObject({ is_running: true });
  });

  it("waits for an end no longer than asked", async () => {
    await using opened = await open();
    const { server, path } = opened;
    const { command_id: id } = await start(opened, { command: "forever" });
    const waiting = server.call("GET", `${path}/${id}?wait=0.5`);
    await server.world.clock.passUntil(() => server.world.clock.monotonicMs() > 5000, "the wait is over");
    expect((await waiting).body).toMatchObject({ is_running: true });
  });
});

describe("GET /v1/vms/{vm_id}/commands/{command_id}/output", () => {
  it("begins at any offset, from either end, and ends with what is there when it does not follow", async () => {
    await using opened = await open();
    const { command_id: id } = await start(opened, { command: "echo 01234; cat", stdin: true });
    const texts = async (query: string) =>
      (await read(opened, id, query)).map(({ event, data }) => [
        event,
        z.object({ text: z.string().optional() }).parse(data).text,
      ]);
    expect(await texts("follow=false")).toEqual([
      ["position", undefined],
      ["stdout", "01234\n"],
      ["more", undefined],
    ]);
    expect(await texts("follow=false&offset=3")).toEqual([
      ["position", undefined],
      ["stdout", "34\n"],
      ["more", undefined],
    ]);
    expect(await texts("follow=false&offset=2&from_end=true")).toEqual([
      ["position", undefined],
      ["stdout", "4\n"],
      ["more", undefined],
    ]);
    await write(opened, `${id}/stdin?close=true`, "end");
    expect(await texts("offset=6")).toEqual([
      ["position", undefined],
      ["stdout", "end"],
      ["exit", undefined],
    ]);
    expect(await texts("offset=6&follow=false")).toEqual([
      ["position", undefined],
      ["stdout", "end"],
      ["exit", undefined],
    ]);
  });

  it("says what a late reader has missed, and that the start of the output is gone", async () => {
    await using opened = await open();
    const { command_id: id } = await start(opened, { command: "output 2000000" });
    const events = await read(opened, id);
    expect(events[0]).toEqual({ event: "position", data: { offset: 951_424, dropped_bytes: 951_424 } });
    expect(events.at(-1)).toMatchObject({
      event: "exit",
      data: { truncated: true, output_start: 951_424, output_bytes: 2_000_000 },
    });
  });

  it("leaves the command and the other readers alone when one leaves, and keeps nothing of it", async () => {
    await using opened = await open();
    const { server, path } = opened;
    const { command_id: id } = await start(opened, { command: "echo begun; cat", stdin: true });
    const stay = read(opened, id);
    for (let round = 0; round < 100; round += 1) {
      const leaving = new AbortController();
      const answer = await server.api.get(`${path}/${id}/output`, { signal: leaving.signal });
      expect(answer.status).toBe(200);
      leaving.abort();
    }
    await write(opened, `${id}/stdin?close=true`, "end");
    expect((await stay).at(-1)).toMatchObject({ event: "exit", data: { exit_code: 0 } });
  });

  it("refuses the 65th reader of a VM, and admits the next when one has left", async () => {
    await using opened = await open();
    const { server, path } = opened;
    const { command_id: id } = await start(opened, { command: "forever" });
    const leaving = new AbortController();
    const attach = (signal?: AbortSignal) =>
      server.api.get(`${path}/${id}/output`, signal === undefined ? {} : { signal });
    await Promise.all(Array.from({ length: 64 }, () => attach(leaving.signal)));
    const refused = await attach();
    expect([refused.status, await refused.json()]).toMatchObject([403, { code: "limit_exceeded" }]);
    leaving.abort();
    await expect.poll(async () => (await server.api.get(`${path}/${id}/output?follow=false`)).status).toBe(200);
  });

  it("says what became of the VM", async () => {
    await using opened = await open();
    const { server, vm } = opened;
    const { command_id: id } = await start(opened, { command: "echo begun; forever" });
    const reading = read(opened, id);
    await sleep(100);
    server.world.room.kill(vm.vm_id);
    expect((await reading).at(-1)).toMatchObject({ event: "error", data: { code: "vm_lost" } });
  });

  it("answers HEAD with the head alone", async () => {
    await using opened = await open();
    const { command_id: id } = await start(opened, { command: "forever" });
    const answer = await opened.server.api.get(`${opened.path}/${id}/output`, { method: "HEAD" });
    expect([answer.status, await answer.text()]).toEqual([200, ""]);
  });
});
