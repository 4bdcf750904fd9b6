import { connect } from "node:net";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { executeStreamEventSchemas, InstaVmError } from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { eventsOf } from "../testing/events.ts";
import type { SeenEvent } from "../testing/events.ts";
import { text } from "../testing/memory-sessions.ts";
import { startApi } from "../testing/throwaway-api.ts";
import type { ThrowawayApi } from "../testing/throwaway-api.ts";

const sessionId = "0b5c6a0e-3f63-4d9b-8c43-0c7a3f5e2a11";
const mib = 1024 * 1024;

const request = { command: "1", session_id: sessionId };
const acceptEvents = { accept: "text/event-stream" };

async function streamed(server: ThrowawayApi): Promise<readonly SeenEvent[]> {
  const answer = await server.post("/execute", request, acceptEvents);
  expect(answer.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
  return eventsOf(await answer.text());
}

describe("POST /execute with events", () => {
  it("hands on what the code does, in its order, and how it ended", async () => {
    await using server = await startApi();
    const png = Uint8Array.of(0x89, 0x50, 0x4e, 0x47);
    const data = new Map([
      ["text/plain", text("<Figure>")],
      ["image/png", png],
    ]);
    server.executions.behaviour = async (take) => {
      await take({ type: "stdout", data: text("one\n") });
      await take({ type: "stderr", data: text("oops") });
      await take({ type: "display", isResult: false, data });
      await take({ type: "display", isResult: true, data: new Map([["text/plain", text("42")]]) });
      return { exitCode: 3, error: { name: "E", value: "v", traceback: "t" } };
    };
    const events = await streamed(server);
    expect(events).toEqual([
      { event: "stdout", data: { text: "one\n" } },
      { event: "stderr", data: { text: "oops" } },
      { event: "result", data: { type: "text/plain", data: "<Figure>", display: 0, is_result: false } },
      { event: "result", data: { type: "image/png", data: "iVBORw==", display: 0, is_result: false } },
      { event: "result", data: { type: "text/plain", data: "42", display: 1, is_result: true } },
      {
        event: "exit",
        data: expect.objectContaining({
          exit_code: 3,
          success: false,
          error: { name: "E", value: "v", traceback: "t" },
        }),
      },
    ]);
    expect(executeStreamEventSchemas.exit.parse(events.at(-1)?.data)).toMatchObject({ session_id: sessionId });
  });

  it("never cuts a character in two, and shows what is none", async () => {
    await using server = await startApi();
    const euro = text("€");
    server.executions.behaviour = async (take) => {
      await take({ type: "stdout", data: euro.subarray(0, 1) });
      await take({ type: "stderr", data: text("between") });
      await take({ type: "stdout", data: euro.subarray(1) });
      await take({ type: "stdout", data: Uint8Array.of(0xff, 0xe2) });
      return {};
    };
    const events = await streamed(server);
    expect(
      events.slice(0, -1).map(({ event, data }) => [event, executeStreamEventSchemas.stdout.parse(data).text]),
    ).toEqual([
      ["stderr", "between"],
      ["stdout", "€"],
      ["stdout", "\ufffd"],
      ["stdout", "\ufffd"],
    ]);
  });

  it("answers what fails before the code runs in the way of every call", async () => {
    await using server = await startApi();
    server.executions.refusal = new InstaVmError("session_not_found", "Session x does not exist");
    const answer = await server.post("/execute", request, acceptEvents);
    expect(answer.status).toBe(404);
    expect(await answer.json()).toMatchObject({ code: "session_not_found" });
  });

  it("says what failed while the code ran", async () => {
    await using server = await startApi();
    server.executions.behaviour = async (take) => {
      await take({ type: "stdout", data: text("one") });
      throw new InstaVmError("vm_lost", "VM v was lost");
    };
    const events = await streamed(server);
    expect(events.map(({ event }) => event)).toEqual(["stdout", "error"]);
    expect(events[1]?.data).toMatchObject({ code: "vm_lost", detail: "VM v was lost" });
  });

  it("says between events that it lives", async () => {
    await using server = await startApi({ patience: { heartbeatMs: 20 } });
    server.executions.behaviour = async () => {
      await sleep(200);
      return {};
    };
    const body = await (await server.post("/execute", request, acceptEvents)).text();
    expect(body.split(": heartbeat\n\n").length).toBeGreaterThan(2);
  });

  it("ends the code when the client leaves", async () => {
    await using server = await startApi();
    const left = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    server.executions.behaviour = async (take, signal) => {
      await take({ type: "stdout", data: text("one") });
      begun.resolve();
      await new Promise<void>((resolve) => signal?.addEventListener("abort", () => resolve()));
      left.resolve();
      throw new InstaVmError("cancelled", "the client left");
    };
    const leaving = new AbortController();
    const init = { method: "POST", signal: leaving.signal, body: JSON.stringify(request) };
    const answer = server.get("/execute", {
      ...init,
      headers: { ...acceptEvents, "content-type": "application/json" },
    });
    await begun.promise;
    await answer;
    leaving.abort();
    await left.promise;
    expect(server.executions.views.size).toBe(0);
  });

  it("is held back by a client that does not read, and memory stays as it was", async () => {
    await using server = await startApi();
    const piece = new Uint8Array(65_536).fill(0x61);
    const total = 200 * mib;
    let taken = 0;
    server.executions.behaviour = async (take) => {
      for (; taken < total; taken += piece.length) await take({ type: "stdout", data: piece });
      return {};
    };
    const socket = post(server);
    await new Promise<void>((resolve) => socket.once("connect", () => resolve()));
    socket.pause();
    const before = process.memoryUsage().rss;
    await sleep(1000);
    const heldAt = taken;
    await sleep(500);
    expect(taken).toBe(heldAt);
    expect(heldAt).toBeLessThan(16 * mib);
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * mib);
    let received = 0;
    const whole = new Promise<void>((resolve) => {
      socket.on("data", (data) => {
        received += data.length;
        if (data.includes("event: exit")) resolve();
      });
    });
    socket.resume();
    await whole;
    expect(received).toBeGreaterThan(total);
    socket.destroy();
  });

  it("is cut off when its client does not read for too long", async () => {
    await using server = await startApi({ patience: { stallMs: 200, checkEveryMs: 20 } });
    const over = Promise.withResolvers<void>();
    server.executions.behaviour = async (take, signal) => {
      const piece = new Uint8Array(65_536).fill(0x61);
      const hasLeft = (): boolean => signal?.aborted === true;
      while (!hasLeft()) await take({ type: "stdout", data: piece });
      over.resolve();
      throw new InstaVmError("cancelled", "the client left");
    };
    const socket = post(server);
    socket.pause();
    await over.promise;
    socket.destroy();
    expect((await server.get("/health")).status).toBe(200);
  });
});

function post(server: ThrowawayApi): Socket {
  const socket = connect(server.port, "127.0.0.1");
  const body = JSON.stringify(request);
  const head = [
    "POST /execute HTTP/1.1",
    "host: x",
    "accept: text/event-stream",
    "content-type: application/json",
    `x-api-key: ${server.keys.adminKey}`,
    `content-length: ${body.length}`,
  ];
  socket.on("error", () => undefined);
  socket.write(`${head.join("\r\n")}\r\n\r\n${body}`);
  return socket;
}
