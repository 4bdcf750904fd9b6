import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ProcessReader } from "@instavm/core";
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

const residentMib = async (pid: number): Promise<number> => {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
};

const readAll = async (reader: ProcessReader): Promise<{ stdout: string; stderr: string; dropped: number }> => {
  let [stdout, stderr, dropped] = ["", "", 0];
  for await (const event of reader) {
    if (event.type === "stdout") stdout += Buffer.from(event.data).toString();
    else if (event.type === "stderr") stderr += Buffer.from(event.data).toString();
    else dropped += event.droppedBytes;
  }
  return { stdout, stderr, dropped };
};

describe("background processes on the real agent", () => {
  it("outlive the session that started them, take input and tell how they ended", async () => {
    let processId = 0;
    {
      await using session = await connect();
      const command = { script: 'read line; echo "got $line"; echo oops >&2; exit 4' };
      const started = await session.processes.start({ command, openStdin: true, tag: "reader" });
      expect(started).toMatchObject({ tag: "reader", stdinIsOpen: true, ended: undefined, outputBytes: 0 });
      processId = started.processId;
    }
    await using session = await connect();
    const known = await session.processes.list();
    expect(known.map((process) => process.processId)).toContain(processId);
    expect(await session.processes.writeStdin(processId, Buffer.from("it\n"), { close: true })).toBe(3);
    const ended = await session.processes.wait(processId, { timeoutMs: 30_000 });
    expect(ended.ended).toMatchObject({ exitCode: 4, signal: 0, timedOut: false, truncated: false });
    expect(ended.ended?.endedAtMs).toBeGreaterThanOrEqual(ended.startedAtMs);
    const reader = session.processes.attach(processId);
    expect(await readAll(reader)).toEqual({ stdout: "got it\n", stderr: "oops\n", dropped: 0 });
    expect((await reader.state).outputBytes).toBe(12);
    await expect(session.processes.writeStdin(processId, Buffer.from("late"))).rejects.toMatchObject({
      code: "conflict",
    });
  });

  it("are read by many at once, from any offset, while they run and after", async () => {
    await using session = await connect();
    const { processId } = await session.processes.start({
      command: { script: "printf 01234; sleep 0.2; printf 56789" },
    });
    const texts = await Promise.all(
      [0, 3, 5].map(async (offset) => (await readAll(session.processes.attach(processId, { offset }))).stdout),
    );
    expect(texts).toEqual(["0123456789", "3456789", "56789"]);
    const tail = session.processes.attach(processId, { offset: 2, fromEnd: true });
    expect((await readAll(tail)).stdout).toBe("89");
  });

  it("lose the start of a long output and say how much", async () => {
    await using session = await connect();
    const { processId } = await session.processes.start({ command: { script: "head -c 3000000 /dev/zero" } });
    const ended = await session.processes.wait(processId, { timeoutMs: 30_000 });
    expect(ended.ended?.truncated).toBe(true);
    const { stdout, dropped } = await readAll(session.processes.attach(processId));
    expect(stdout).toHaveLength(1024 * 1024);
    expect(dropped).toBe(3_000_000 - 1024 * 1024);
  });

  it("take no more memory of the agent, however much they print and nobody reads", async () => {
    await using session = await connect();
    const before = await residentMib(agent.pid);
    const command = { script: "head -c 30000000 /dev/zero; head -c 30000000 /dev/zero >&2" };
    const started = await Promise.all(Array.from({ length: 4 }, () => session.processes.start({ command })));
    const stuck = session.processes.attach(started[0]?.processId ?? 0);
    const ended = await Promise.all(
      started.map(({ processId }) => session.processes.wait(processId, { timeoutMs: 60_000 })),
    );
    for (const process of ended) {
      expect(process.outputBytes).toBe(60_000_000);
      expect(process.outputBytes - process.outputStart).toBeLessThanOrEqual(1024 * 1024);
    }
    expect((await residentMib(agent.pid)) - before).toBeLessThan(24);
    const { stdout, stderr, dropped } = await readAll(stuck);
    expect(stdout.length + stderr.length + dropped).toBe(60_000_000);
  }, 90_000);

  it("go on when their reader leaves, and end by a signal", async () => {
    await using session = await connect();
    const { processId } = await session.processes.start({
      command: { script: "while :; do echo tick; sleep 0.01; done" },
    });
    for await (const event of session.processes.attach(processId)) if (event.type === "stdout") break;
    expect((await session.processes.signal(processId, 15)).processId).toBe(processId);
    const ended = await session.processes.wait(processId, { timeoutMs: 30_000 });
    expect(ended.ended?.signal).toBe(15);
  });

  it("are forgotten, and ended first when they run", async () => {
    await using session = await connect();
    const { processId } = await session.processes.start({ command: { argv: ["sleep", "1000"] } });
    expect((await session.processes.forget(processId)).ended).toMatchObject({ signal: 9, exitCode: 137 });
    expect((await session.processes.list()).map((process) => process.processId)).not.toContain(processId);
    await expect(session.processes.forget(processId)).rejects.toMatchObject({ code: "command_not_found" });
  });

  it("are unknown or refused with a code of their own", async () => {
    await using session = await connect();
    await expect(session.processes.wait(4_000_000)).rejects.toMatchObject({ code: "command_not_found" });
    await expect(session.processes.signal(0, 9)).rejects.toMatchObject({ code: "command_not_found" });
    await expect(session.processes.signal(1, 65)).rejects.toMatchObject({ code: "invalid" });
    const start = session.processes.start({ command: { argv: ["no-such-program"] } });
    await expect(start).rejects.toMatchObject({ code: "file_not_found" });
    await expect(readAll(session.processes.attach(4_000_000))).rejects.toMatchObject({ code: "command_not_found" });
  });

  it("keep a waiting caller no longer than its deadline", async () => {
    await using session = await connect();
    const { processId } = await session.processes.start({ command: { argv: ["sleep", "1000"] } });
    await expect(session.processes.wait(processId, { timeoutMs: 50 })).rejects.toMatchObject({
      code: "guest_unreachable",
    });
    const abort = new AbortController();
    const reading = readAll(session.processes.attach(processId, { signal: abort.signal }));
    setTimeout(() => abort.abort(new RangeError("enough")), 30);
    await expect(reading).rejects.toThrow("enough");
    await session.processes.signal(processId, 9);
  });
});
