import { existsSync } from "node:fs";
import { connect as connectSocket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { OutputCall, OutputEvent } from "@instavm/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { GuestLink } from "./agent-link.ts";
import type { LinkedSession } from "./agent-session.ts";
import { type RealAgent, startAgent } from "./testing/real-agent.ts";

const link = new GuestLink({ connectTimeoutMs: 20_000 });
let agent: RealAgent;

beforeAll(async () => {
  agent = await startAgent();
}, 600_000);
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
});

const connect = (): Promise<LinkedSession> => link.connect(agent.socketPath);
const utf8 = new TextDecoder();

/** Everything that a call wrote, and how it ended. */
const collect = async <Ended>(call: OutputCall<Ended>) => {
  const events: OutputEvent[] = [];
  for await (const event of call) events.push(event);
  const textOf = (type: "stdout" | "stderr"): string =>
    utf8.decode(Buffer.concat(events.flatMap((event) => (event.type === type ? [event.data] : []))));
  return { events, stdout: textOf("stdout"), stderr: textOf("stderr"), ended: await call.ended };
};

const bash = (script: string) => ({ command: { script } });

/** Reads until the process has said its pid. */
const pidOf = async (events: AsyncIterator<OutputEvent>): Promise<number> => {
  const first = await events.next();
  return first.done !== true && first.value.type === "started" ? first.value.pid : 0;
};

const gone = async (pid: number): Promise<void> => {
  while (existsSync(`/proc/${pid}`)) await delay(5);
};

describe("a session with the real agent", () => {
  it("pings it and reads its figures", async () => {
    await using session = await connect();
    expect((await session.ping()).agentVersion).toMatch(/^\d+\.\d+\.\d+/);
    const stats = await session.stats();
    expect(stats.memoryTotalBytes).toBeGreaterThan(stats.memoryAvailableBytes);
    expect(stats.memoryAvailableBytes).toBeGreaterThan(0);
  });

  it("can be left and entered again many times", async () => {
    for (let round = 0; round < 20; round += 1) {
      const session = await connect();
      const { stdout } = await collect(session.exec({ command: { argv: ["echo", `${round}`] } }));
      expect(stdout).toBe(`${round}\n`);
      await session.detach();
      expect(await session.closed).toBeUndefined();
    }
  });

  it("finds an agent whose last host vanished in the middle of a call", async () => {
    const socket = connectSocket(agent.socketPath);
    socket.write(Buffer.concat([Buffer.from("IVM1H"), Buffer.alloc(16, 1), Buffer.from("01000000", "hex")]));
    await new Promise((resolve) => socket.once("data", resolve));
    socket.destroy();
    await using session = await connect();
    await expect(session.ping()).resolves.toHaveProperty("agentVersion");
  });
});

describe("exec with the real agent", () => {
  it("gives output, exit code, environment and directory", async () => {
    await using session = await connect();
    const call = session.exec({
      command: { argv: ["sh", "-c", 'echo "$GREETING"; pwd; echo oops >&2; exit 3'] },
      env: { GREETING: "grüß dich" },
      cwd: "/",
    });
    const { events, stdout, stderr, ended } = await collect(call);
    expect(events[0]).toMatchObject({ type: "started", pid: expect.any(Number) });
    expect({ stdout, stderr }).toEqual({ stdout: "grüß dich\n/\n", stderr: "oops\n" });
    expect(ended).toMatchObject({ exitCode: 3, signal: 0, timedOut: false, truncated: false });
    expect(ended.wallMs).toBeGreaterThan(0);
  });

  it("runs scripts of half a megabyte", async () => {
    await using session = await connect();
    const script = `${": padding\n".repeat(50_000)}echo end of $((6 * 7))`;
    expect((await collect(session.exec(bash(script)))).stdout).toBe("end of 42\n");
  });

  it("feeds stdin while it reads stdout", async () => {
    await using session = await connect();
    const call = session.exec({ command: { argv: ["cat"] }, openStdin: true });
    const sent = new Uint8Array(5_000_000).map((_, index) => (index * 7) & 0xff);
    const writing = (async () => {
      for (let at = 0; at < sent.length; at += 300_000) await call.write(sent.subarray(at, at + 300_000));
      call.closeStdin();
    })();
    const received: Uint8Array[] = [];
    for await (const event of call) if (event.type === "stdout") received.push(event.data);
    await writing;
    expect(Buffer.compare(Buffer.concat(received), sent)).toBe(0);
    expect((await call.ended).exitCode).toBe(0);
    await expect(call.write(new Uint8Array(1))).rejects.toMatchObject({ code: "conflict" });
  });

  it("takes no input for a process without open stdin", async () => {
    await using session = await connect();
    const call = session.exec({ command: { argv: ["cat"] } });
    await expect(call.write(new Uint8Array(1))).rejects.toMatchObject({ code: "conflict" });
    call.closeStdin();
    expect((await collect(call)).ended.exitCode).toBe(0);
  });

  it("signals a process, also one whose stdin is closed or full", async () => {
    await using session = await connect();
    for (const openStdin of [false, true]) {
      const call = session.exec({ command: { argv: ["sleep", "600"] }, openStdin });
      const events = call[Symbol.asyncIterator]();
      expect(await pidOf(events)).toBeGreaterThan(0);
      const flood = openStdin ? call.write(new Uint8Array(2_000_000)).catch((error: unknown) => error) : undefined;
      await delay(20);
      call.signal(15);
      expect(await call.ended).toMatchObject({ exitCode: 143, signal: 15 });
      await flood;
    }
  });

  it("ends a process at the guest's limit", async () => {
    await using session = await connect();
    const { ended, stdout } = await collect(session.exec({ ...bash("echo begun; sleep 600"), limitMs: 300 }));
    expect({ stdout, ...ended }).toMatchObject({ stdout: "begun\n", exitCode: 124, timedOut: true });
  });

  it("cuts output at the limit and says so", async () => {
    await using session = await connect();
    const call = session.exec({ ...bash("head -c 1000000 /dev/zero"), outputLimitBytes: 1000 });
    const { stdout, ended } = await collect(call);
    expect(stdout).toHaveLength(1000);
    expect(ended).toMatchObject({ exitCode: 0, truncated: true });
  });

  it("says what is missing when the program or the directory is not there", async () => {
    await using session = await connect();
    for (const request of [
      { command: { argv: ["no-such-program"] } },
      { command: { argv: ["true"] }, cwd: "/no/such/directory" },
    ]) {
      const ended = await session.exec(request).ended.catch((error: unknown) => error);
      expect(ended).toSatisfy(
        (value: object) =>
          ("exitCode" in value && value.exitCode === 127) || ("code" in value && value.code === "file_not_found"),
      );
    }
  });

  it("blocks the process and holds little memory while nobody reads", async () => {
    await using session = await connect();
    const total = 60 * 1024 * 1024;
    const before = process.memoryUsage().arrayBuffers;
    const call = session.exec(bash(`head -c ${total} /dev/zero; echo done >&2`));
    await delay(500);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 * 1024 * 1024);
    let bytes = 0;
    let said = "";
    for await (const event of call) {
      if (event.type === "stdout") bytes += event.data.length;
      if (event.type === "stderr") said += utf8.decode(event.data);
      // Two pipes have no common order; what lies in buffers on the way may be late.
      expect(said === "" || bytes > total - 2 * 1024 * 1024).toBe(true);
    }
    expect({ bytes, said }).toEqual({ bytes: total, said: "done\n" });
  });

  it("runs 200 calls at once, each with its own answer", async () => {
    await using session = await connect();
    const outputs = await Promise.all(
      Array.from({ length: 200 }, async (_, index) => {
        const { stdout } = await collect(session.exec(bash(`echo ${index}; head -c ${index * 100} /dev/zero`)));
        return [stdout.slice(0, `${index}\n`.length), stdout.length];
      }),
    );
    expect(outputs).toEqual(outputs.map((_, index) => [`${index}\n`, `${index}\n`.length + index * 100]));
  });

  it("ends the process when the caller's signal fires", async () => {
    await using session = await connect();
    const abort = new AbortController();
    const call = session.exec(bash("echo begun; sleep 600"), { signal: abort.signal });
    const events = call[Symbol.asyncIterator]();
    const pid = await pidOf(events);
    abort.abort(new RangeError("enough"));
    await expect(call.ended).rejects.toThrow("enough");
    await gone(pid);
    expect((await collect(session.exec(bash("echo still here")))).stdout).toBe("still here\n");
  });

  it("ends the process when the reader leaves the loop", async () => {
    await using session = await connect();
    const call = session.exec({ command: { argv: ["yes"] } });
    let pid = 0;
    for await (const event of call) {
      if (event.type === "started") pid = event.pid;
      else break;
    }
    await expect(call.ended).rejects.toMatchObject({ code: "cancelled" });
    await gone(pid);
  });

  it("ends running calls when the session is left", async () => {
    const session = await connect();
    const call = session.exec({ command: { argv: ["sleep", "600"] } });
    const pid = await pidOf(call[Symbol.asyncIterator]());
    await session.detach();
    await expect(call.ended).rejects.toMatchObject({ code: "cancelled" });
    await gone(pid);
  });

  it("gives up on a call at the caller's own bound", async () => {
    await using session = await connect();
    const call = session.exec({ command: { argv: ["sleep", "600"] } }, { timeoutMs: 100 });
    const pid = await pidOf(call[Symbol.asyncIterator]());
    await expect(call.ended).rejects.toMatchObject({ code: "guest_unreachable" });
    await gone(pid);
  });
});

describe("an agent that is killed", () => {
  it("fails every running call with vm_lost, and the next agent on the socket is reached", async () => {
    await using first = await startAgent();
    const session = await link.connect(first.socketPath);
    // Their stdin closes when the agent dies: nothing is left running.
    const calls = Array.from({ length: 10 }, () => session.exec({ command: { argv: ["cat"] }, openStdin: true }));
    const readers = calls.map((call) => collect(call).catch((error: unknown) => error));
    await session.ping();
    await first.kill();
    for (const reader of readers) expect(await reader).toMatchObject({ code: "vm_lost" });
    expect(await session.closed).toMatchObject({ code: "vm_lost" });
    await expect(link.connect(first.socketPath, { timeoutMs: 200 })).rejects.toMatchObject({
      code: "guest_unreachable",
    });
  });
});
