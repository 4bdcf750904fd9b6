import { executionLimits, InstaVmError, type SessionId } from "@instavm/contract";
import { eventually, failureOf, FakeClient, type FakeServer, FakeWorld, sampleKeyId, settle } from "@instavm/testkit";
import { describe, expect, test } from "vitest";
import type { OutputEvent } from "../ports/agent-link.ts";
import type { ExecutionView } from "./executions.ts";

const mib = 1024 * 1024;
const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** Reads again until it is so; at most 10 s. */
async function until<T>(read: () => Promise<T>, isSo: (seen: T) => boolean): Promise<T> {
  const deadlineMs = Date.now() + 10_000;
  for (;;) {
    const seen = await read();
    if (isSo(seen)) return seen;
    expect(Date.now()).toBeLessThan(deadlineMs);
    await settle();
  }
}

class Background {
  readonly client: FakeClient;
  readonly sessionId: SessionId;
  readonly server: FakeServer;

  constructor(parts: { client: FakeClient; sessionId: SessionId; server: FakeServer }) {
    this.client = parts.client;
    this.sessionId = parts.sessionId;
    this.server = parts.server;
  }

  static async open(world: FakeWorld): Promise<Background> {
    const server = await world.startedServer();
    const client = new FakeClient(server.platform);
    return new Background({ client, sessionId: await client.open(), server });
  }

  start(code: string, limitMs = 60_000): Promise<ExecutionView> {
    const request = { sessionId: this.sessionId, code, language: "python", limitMs } as const;
    return this.server.platform.executions.start(this.client.caller, request);
  }

  get({ executionId }: ExecutionView, server = this.server): Promise<ExecutionView> {
    return server.platform.executions.get(this.client.caller, executionId);
  }

  async ended(view: ExecutionView, server = this.server): Promise<ExecutionView> {
    return until(
      () => this.get(view, server),
      ({ status }) => status !== "running",
    );
  }
}

describe("code in the background", () => {
  test("runs on by itself, and keeps what it printed and how it ended", async () => {
    await using world = new FakeWorld();
    const background = await Background.open(world);
    const started = await background.start("print(one)\nsleep(5000)\nprint(two)\nfail(boom)");
    expect(started).toMatchObject({ status: "running", endedAtMs: undefined, exitCode: undefined });
    await until(
      () => background.get(started),
      ({ stdout }) => textOf(stdout) === "one\n",
    );
    await world.clock.advance(5000);
    const ended = await background.ended(started);
    expect(ended).toMatchObject({ status: "completed", exitCode: 1, truncated: false, reason: undefined });
    expect([textOf(ended.stdout), textOf(ended.stderr)]).toEqual(["one\ntwo\n", "Error: boom\n"]);
    expect(ended.vmId).toBe((await background.client.get(background.sessionId)).vm?.vmId);
  });

  test("says that output was cut", async () => {
    await using world = new FakeWorld();
    const background = await Background.open(world);
    const ended = await background.ended(await background.start(`flood(${3 * mib})`));
    expect(ended).toMatchObject({ status: "completed", truncated: true });
    expect(ended.stdout).toHaveLength(executionLimits.keptOutputBytes);
  });

  test("ends at its time limit", async () => {
    await using world = new FakeWorld();
    const background = await Background.open(world);
    const started = await background.start("forever()", 2000);
    await settle();
    await world.clock.advance(2000);
    expect(await background.ended(started)).toMatchObject({ status: "completed", timedOut: true, exitCode: 124 });
  });

  test("is lost when its VM dies, and the reason says it", async () => {
    await using world = new FakeWorld();
    const background = await Background.open(world);
    const lost = await background.ended(await background.start("print(one)\ncrash()"));
    expect(lost).toMatchObject({ status: "lost", exitCode: undefined, reason: expect.stringContaining("was lost") });
    expect(textOf(lost.stdout)).toBe("one\n");
  });

  test.each([-3_600_000, 3_600_000])(
    "lasts as long as it lasts when the wall clock is set by %i ms",
    async (stepMs) => {
      await using world = new FakeWorld();
      const background = await Background.open(world);
      const started = await background.start("print(one)\nsleep(5000)\ncrash()");
      await until(
        () => background.get(started),
        ({ stdout }) => stdout.length > 0,
      );
      world.clock.stepWallClock(stepMs);
      await world.clock.advance(5000);
      expect(await background.ended(started)).toMatchObject({ status: "lost", wallMs: 5000 });
    },
  );

  test("has failed when its session is killed, or no VM can be had", async () => {
    await using world = new FakeWorld();
    const background = await Background.open(world);
    const started = await background.start("forever()");
    await settle();
    await background.client.kill(background.sessionId);
    expect(await background.ended(started)).toMatchObject({
      status: "failed",
      reason: expect.stringContaining("killed"),
    });
    await expect(background.start("1")).rejects.toMatchObject({ code: "session_not_found" });
  });

  test.each(["stopped", "killed"] as const)(
    "is lost when the server is %s, and its record outlives that",
    async (how) => {
      await using world = new FakeWorld();
      const background = await Background.open(world);
      const done = await background.ended(await background.start("print(one)"));
      const running = await background.start("forever()");
      await settle();
      if (how === "stopped") await background.server.platform.close();
      else await background.server.kill();
      const next = await world.startedServer();
      expect(await background.get(done, next)).toMatchObject({ status: "completed", stdout: done.stdout });
      expect(await background.get(running, next)).toMatchObject({
        status: "lost",
        reason: "the server stopped while the code ran",
        endedAtMs: expect.any(Number),
      });
      expect(await next.platform.executions.list(background.client.caller, { limit: 10 })).toHaveLength(2);
    },
  );

  test("whose end cannot be written is lost, not running for ever", async () => {
    await using world = new FakeWorld();
    const background = await Background.open(world);
    background.server.faults.plan("executions.finish", { kind: "fail" });
    const lost = await background.ended(await background.start("print(one)"));
    expect(lost).toMatchObject({ status: "lost", reason: expect.stringContaining("written down") });
  });

  test("is its key's own", async () => {
    await using world = new FakeWorld();
    const background = await Background.open(world);
    const { executionId } = await background.start("forever()");
    const stranger = new FakeClient(background.server.platform, 2);
    const { executions } = background.server.platform;
    const request = { sessionId: background.sessionId, code: "1", language: undefined, limitMs: 1000 };
    const failures = await Promise.all([
      failureOf(executions.get(stranger.caller, executionId)),
      failureOf(executions.start(stranger.caller, request)),
    ]);
    expect(failures).toMatchObject([{ code: "execution_not_found" }, { code: "session_not_found" }]);
    expect(await executions.list({ keyId: sampleKeyId(2), role: "admin" }, { limit: 10 })).toEqual([]);
  });

  test("is refused when a key has too much of it already", async () => {
    await using world = new FakeWorld();
    const background = await Background.open(world);
    for (let index = 0; index < executionLimits.runningPerKey; index += 1) await background.start("forever()");
    expect(await failureOf(background.start("1"))).toMatchObject({ code: "limit_exceeded" });
  });
});

describe("streamed code", () => {
  const request = (sessionId: SessionId, code: string, limitMs = 1000) =>
    ({ sessionId, code, language: "python", limitMs }) as const;

  test("hands on its output and waits for the reader", async () => {
    await using world = new FakeWorld();
    const { client, sessionId, server } = await Background.open(world);
    const seen: string[] = [];
    const gate = Promise.withResolvers<void>();
    const reader = {
      started: () => void seen.push("started"),
      take: async (event: OutputEvent) => {
        if (event.type === "stdout") seen.push(textOf(event.data));
        await gate.promise;
      },
    };
    const running = server.platform.executions.stream(client.caller, request(sessionId, "print(1)\nprint(2)"), {
      reader,
    });
    await eventually(() => seen.length === 2, "the reader has the first line");
    await settle();
    expect(seen).toEqual(["started", "1\n"]);
    gate.resolve();
    expect(await running).toMatchObject({ exitCode: 0, timedOut: false });
    expect(seen).toEqual(["started", "1\n", "2\n"]);
  });

  test("whose reader is slow beyond the time limit still ends as it did", async () => {
    await using world = new FakeWorld();
    const { client, sessionId, server } = await Background.open(world);
    const gate = Promise.withResolvers<void>();
    const taken = Promise.withResolvers<void>();
    const reader = {
      started: () => {},
      take: () => {
        taken.resolve();
        return gate.promise;
      },
    };
    const running = server.platform.executions.stream(client.caller, request(sessionId, "print(1)\nfail(x)"), {
      reader,
    });
    await taken.promise;
    await world.clock.advance(30_000);
    gate.resolve();
    expect(await running).toMatchObject({ exitCode: 1, timedOut: false });
  });

  test("whose reader takes nothing more is given up in the end", async () => {
    await using world = new FakeWorld();
    const { client, sessionId, server } = await Background.open(world);
    const taken = Promise.withResolvers<void>();
    const reader = {
      started: () => {},
      take: () => {
        taken.resolve();
        return new Promise<void>(() => {});
      },
    };
    const running = failureOf(
      server.platform.executions.stream(client.caller, request(sessionId, "print(1)"), { reader }),
    );
    await taken.promise;
    for (let minute = 0; minute < 5; minute += 1) await world.clock.advance(60_000);
    expect(await running).toMatchObject({ code: "timeout", message: expect.stringContaining("was not read") });
  });

  test("ends with what its reader throws, and with the caller's signal", async () => {
    await using world = new FakeWorld();
    const { client, sessionId, server } = await Background.open(world);
    const { executions } = server.platform;
    const broken = {
      started: () => {},
      take: () => {
        throw new InstaVmError("cancelled", "the reader broke");
      },
    };
    const thrown = await failureOf(
      executions.stream(client.caller, request(sessionId, "print(1)\nforever()"), { reader: broken }),
    );
    expect(thrown).toMatchObject({ message: "the reader broke" });
    const leaving = new AbortController();
    const reader = { started: () => {}, take: () => leaving.abort(new InstaVmError("cancelled", "the client left")) };
    const left = await failureOf(
      executions.stream(client.caller, request(sessionId, "print(1)\nforever()"), { reader, signal: leaving.signal }),
    );
    expect(left).toMatchObject({ message: "the client left" });
    expect(await client.print(sessionId, "print(3)")).toBe("3\n");
  });
});
