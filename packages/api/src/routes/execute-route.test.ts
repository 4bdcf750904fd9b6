import { monitorEventLoopDelay } from "node:perf_hooks";
import { InstaVmError, commandLimitBytes, defaultShape, executeResponseSchema } from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { adminKeyId, text } from "../testing/memory-sessions.ts";
import { startApi } from "../testing/throwaway-api.ts";
import type { ThrowawayApi } from "../testing/throwaway-api.ts";

const sessionRequest = { shape: defaultShape, lifetimeS: 300, env: {}, metadata: {} };

async function withSession(server: ThrowawayApi): Promise<string> {
  const session = await server.sessions.create({ keyId: adminKeyId, role: "admin" }, sessionRequest);
  return session.session.sessionId;
}

async function execute(server: ThrowawayApi, body: Record<string, unknown>) {
  const answer = await server.post("/execute", { session_id: await withSession(server), ...body });
  expect(answer.status).toBe(200);
  return executeResponseSchema.parse(await answer.json());
}

describe("POST /execute", () => {
  it("answers with what the program printed and how it ended", async () => {
    await using server = await startApi();
    server.sessions.behaviour = async () => ({ stdout: text("out"), stderr: text("err"), exitCode: 3 });
    const result = await execute(server, { command: "exit 3", language: "bash" });
    expect(result).toMatchObject({
      stdout: "out",
      output: "out",
      stderr: "err",
      exit_code: 3,
      success: false,
      language: "bash",
    });
    expect(result).toMatchObject({ execution_time: 1.5, cpu_time: 0.003, vm_start: null, vm_ready_ms: null });
  });

  it("puts the last value behind what was printed, on a line of its own", async () => {
    await using server = await startApi();
    const results = [{ isResult: true, data: new Map([["text/plain", text("42")]]) }];
    server.sessions.behaviour = async () => ({ stdout: text("no newline"), results });
    expect((await execute(server, { command: "6*7" })).stdout).toBe("no newline\n42\n");
    server.sessions.behaviour = async () => ({ results });
    expect((await execute(server, { command: "6*7" })).output).toBe("42\n");
  });

  it("shows bytes that are no text as replacement characters", async () => {
    await using server = await startApi();
    server.sessions.behaviour = async () => ({ stdout: Uint8Array.of(0x61, 0xff, 0xfe, 0, 0x62, 0xf0, 0x9f) });
    expect((await execute(server, { command: "cat /bin/true" })).stdout).toBe("a\ufffd\ufffd\0b\ufffd");
  });

  it("stops the code a quarter of a second before the client stops waiting", async () => {
    await using server = await startApi();
    await execute(server, { command: "1", timeout: 7 });
    await execute(server, { command: "1" });
    expect(server.sessions.executed.map(({ limitMs }) => limitMs)).toEqual([6750, 59_750]);
  });

  it("answers although nothing comes back", async () => {
    await using server = await startApi();
    server.sessions.behaviour = async () => new Promise(() => undefined);
    const answer = await server.post("/execute", { session_id: await withSession(server), command: "1", timeout: 1 });
    expect(answer.status).toBe(504);
    expect(await answer.json()).toMatchObject({ code: "gateway_timeout" });
  });

  it("leaves the choice of the language to the guest when none is named", async () => {
    await using server = await startApi();
    await execute(server, { command: "ls", language: null });
    expect(server.sessions.executed[0]?.language).toBeUndefined();
  });

  it.each([
    [{ command: "" }, "command"],
    [{ command: "a\0b" }, "command"],
    [{ command: 7 }, "command"],
    [{ command: undefined }, "command"],
    [{ language: "ruby" }, "language"],
    [{ timeout: 0 }, "timeout"],
    [{ timeout: "60" }, "timeout"],
    [{ session_id: "nope" }, "session_id"],
  ])("refuses %j by the name of the field", async (change, field) => {
    await using server = await startApi();
    const answer = await server.post("/execute", { session_id: await withSession(server), command: "1", ...change });
    expect(answer.status).toBe(422);
    expect(await answer.json()).toMatchObject({
      code: "invalid",
      detail: expect.stringContaining(field),
      errors: [{ loc: ["body", field] }],
    });
    expect(server.sessions.executed).toEqual([]);
  });

  it("takes a command of 8 MiB and refuses a longer one with the limit", async () => {
    await using server = await startApi();
    await execute(server, { command: "é".repeat(commandLimitBytes / 2) });
    const answer = await server.post("/execute", {
      session_id: await withSession(server),
      command: "x".repeat(20 * 1024 * 1024),
    });
    expect(answer.status).toBe(413);
    expect(await answer.json()).toMatchObject({ code: "too_large", detail: expect.stringContaining("8388608") });
    expect(server.sessions.executed).toHaveLength(1);
  });

  it("carries 64 MiB of output whole, and other work goes on while it is written", async () => {
    await using server = await startApi();
    const stdout = Buffer.alloc(64 * 1024 * 1024, 'line with "quotes" and ünïcode\n');
    server.sessions.behaviour = async () => ({ stdout });
    const answer = await server.post("/execute", { session_id: await withSession(server), command: "cat" });
    const stalls = watchForStalls();
    const startedAt = performance.now();
    const answerText = await answer.text();
    // A share and not a time: on a busy machine both grow.
    expect(stalls.longestMs()).toBeLessThan((performance.now() - startedAt) / 2);
    const result = executeResponseSchema.parse(JSON.parse(answerText));
    expect(result.stdout === stdout.toString()).toBe(true);
    expect(result.output === result.stdout).toBe(true);
  });

  it("stops the call when its client leaves", async () => {
    await using server = await startApi();
    const started = Promise.withResolvers<void>();
    server.sessions.behaviour = async (_request, signal) => {
      started.resolve();
      await new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
      return {};
    };
    const leave = new AbortController();
    const body = JSON.stringify({ session_id: await withSession(server), command: "1" });
    const headers = { "content-type": "application/json" };
    const answer = server.get("/execute", { method: "POST", body, headers, signal: leave.signal });
    await started.promise;
    leave.abort();
    await expect(answer).rejects.toThrow("aborted");
    await expect.poll(() => server.logged.map(({ event }) => event)).toContain("client.left");
  });

  it.each(["vm_lost", "guest_unreachable", "capacity", "disk_full"] as const)("passes %s on", async (code) => {
    await using server = await startApi();
    server.sessions.behaviour = async () => {
      throw new InstaVmError(code, "The sentence.");
    };
    const answer = await server.post("/execute", { session_id: await withSession(server), command: "1" });
    expect(await answer.json()).toMatchObject({ code, detail: "The sentence." });
    expect(answer.headers.has("retry-after")).toBe(answer.status === 503);
  });

  it("tells a client nothing of an unexpected failure but its request's id, and the log everything", async () => {
    await using server = await startApi();
    server.sessions.behaviour = async () => {
      throw new TypeError("secret internals");
    };
    const answer = await server.post("/execute", { session_id: await withSession(server), command: "1" });
    expect(answer.status).toBe(500);
    const body = await answer.text();
    expect(body).not.toContain("secret");
    expect(JSON.parse(body)).toMatchObject({ code: "internal", request_id: answer.headers.get("x-request-id") });
    expect(JSON.stringify(server.logged)).toContain("secret internals");
  });
});

/** The longest time for which the event loop did nothing else, until it is asked. */
function watchForStalls(): { longestMs(): number } {
  const histogram = monitorEventLoopDelay({ resolution: 1 });
  histogram.enable();
  return {
    longestMs: () => {
      histogram.disable();
      return histogram.max / 1e6;
    },
  };
}
