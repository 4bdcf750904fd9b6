import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { isRunning, until, vmProcess, vmProcesses, witnesses } from "./support/agreement.ts";
import { RealServer } from "./support/real-server.ts";
import { tracesOf } from "./support/traces.ts";

const small = { vcpuCount: 1, memoryMib: 128 } as const;
const none = { api: [], directories: [], processes: [] };

let server: RealServer;

beforeAll(async () => {
  server = await RealServer.start();
  // The template is made before anybody counts.
  await server.client.kill((await server.client.createSession(small)).sessionId);
});
// A test that fails must not fail the next one.
afterEach(async () => {
  const sandboxes = await server.client.listSessions({ limit: 1000 });
  await Promise.all(sandboxes.map(async ({ sessionId }) => await server.client.kill(sessionId)));
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

test("thirty sandboxes at once are each right, and nothing is left of them", async () => {
  const numbers = Array.from({ length: 30 }, (_, index) => index);
  const sessions = await Promise.all(
    numbers.map(async (number) => {
      const { sessionId } = await server.client.createSession(small);
      const set = await server.client.execute(sessionId, `mine = ${String(number)}; print(mine * mine)`, {
        timeoutS: 120,
      });
      expect(set).toMatchObject({ stdout: `${String(number * number)}\n`, exitCode: 0 });
      return sessionId;
    }),
  );
  expect((await witnesses(server, 30)).processes).toHaveLength(30);
  const kept = await Promise.all(
    sessions.map(
      async (sessionId) => (await server.client.execute(sessionId, "print(mine)", { timeoutS: 120 })).stdout,
    ),
  );
  expect(kept).toEqual(numbers.map((number) => `${String(number)}\n`));
  await Promise.all(sessions.map(async (sessionId) => await server.client.kill(sessionId)));
  expect(await witnesses(server, 0)).toEqual(none);
});

test("a client that goes away while its session is made leaves nothing", async () => {
  for (const delayMs of [1, 10, 30, 60, 120, 250, 400].map((most) => Math.random() * most)) {
    const gone = new AbortController();
    const create = server.client.createSession({ ...small, signal: gone.signal }).catch((error: unknown) => error);
    await sleep(delayMs);
    gone.abort(new Error("the client went away"));
    const outcome = await create;
    // It may have had its answer before it left.
    if (!(outcome instanceof Error)) await server.client.kill(sessionIdOf(outcome));
    expect(await witnesses(server, 0), `gone after ${String(delayMs)} ms`).toEqual(none);
  }
});

function sessionIdOf(outcome: unknown): string {
  return typeof outcome === "object" && outcome !== null && "sessionId" in outcome ? String(outcome.sessionId) : "";
}

test.each([
  ["python", "import subprocess; subprocess.run(['sleep', '603'])"],
  ["bash", "sleep 603 & sleep 603"],
] as const)(
  "a client that goes away while its %s code runs: the code ends in the VM, the session stays",
  async (language, code) => {
    const { sessionId } = await server.client.createSession(small);
    await server.client.execute(sessionId, "kept = 1");
    const gone = new AbortController();
    const lost = expect(
      server.client.execute(sessionId, code, { language, signal: gone.signal, timeoutS: 600 }),
    ).rejects.toThrow("the client went away");
    const count = async (): Promise<string> =>
      (await server.client.execute(sessionId, "pgrep -cfx 'sleep 603'", { language: "bash" })).stdout;
    await until("the code runs", async () => (await count()) !== "0\n");
    gone.abort(new Error("the client went away"));
    await lost;
    await until("the code has ended", async () => (await count()) === "0\n");
    expect(await server.client.execute(sessionId, "print(kept)")).toMatchObject({ stdout: "1\n", contextLost: false });
    await server.client.kill(sessionId);
    expect(await witnesses(server, 0)).toEqual(none);
  },
);

test("a session that is killed while its code runs: the call says so and nothing is left", async () => {
  const { sessionId } = await server.client.createSession(small);
  const pids = [...vmProcesses(server).values()];
  const lost = expect(
    server.client.execute(sessionId, "import time; time.sleep(600)", { timeoutS: 600 }),
  ).rejects.toMatchObject({ code: "session_not_found" });
  await sleep(300);
  await server.client.kill(sessionId);
  await lost;
  expect(pids.filter(isRunning)).toEqual([]);
  expect(await witnesses(server, 0)).toEqual(none);
});

test("a sandbox whose process is killed leaves nothing, and its session can be killed", async () => {
  const { sessionId, vmId } = await server.client.createSession(small);
  process.kill(vmProcess(server, vmId), "SIGKILL");
  await until("the session says so", async () => !(await server.client.sessionStatus(sessionId)).vmAlive);
  await until("its directory is gone", () =>
    tracesOf(server.stateDirectory).every((line) => !line.includes(String(vmId))),
  );
  expect(await server.client.sessionStatus(sessionId)).toMatchObject({ exists: true, vmAlive: false });
  await server.client.kill(sessionId);
  expect(await witnesses(server, 0)).toEqual(none);
});

test("a server that served all of this has let go of every descriptor, process and file", async () => {
  const { pid } = await serverProcess();
  const before = openFiles(pid);
  for (let round = 0; round < 5; round += 1) {
    const sessions = await Promise.all([1, 2, 3].map(async () => await server.client.createSession(small)));
    for (const { sessionId } of sessions) await server.client.execute(sessionId, "print(1)");
    await Promise.all(sessions.map(async ({ sessionId }) => await server.client.kill(sessionId)));
  }
  // Connections of this test's own client come and go.
  await until("as many open files as before", () => openFiles(pid) <= before + 2);
  expect(await witnesses(server, 0)).toEqual(none);
  const names = readdirSync(server.stateDirectory).toSorted();
  expect(
    names.filter(
      (name) =>
        !/^(admin-key|launcher\.(lock|log|sock)|records\.db(-shm|-wal)?|server\.(lock(-journal)?|log)|vms)$/.test(name),
    ),
  ).toEqual([]);
});

async function serverProcess(): Promise<{ pid: number }> {
  const lines = tracesOf(server.stateDirectory).flatMap((line) => /^process (\d+): \S*node /.exec(line)?.[1] ?? []);
  await expect.poll(() => lines.length).toBe(1);
  return { pid: Number(lines[0]) };
}

function openFiles(pid: number): number {
  return readdirSync(`/proc/${String(pid)}/fd`).length;
}

test("a server that ended leaves no process, mount, socket or file of its own", async () => {
  const before = readdirSync(tmpdir())
    .filter((name) => name.startsWith("instavm-"))
    .toSorted();
  const other = await RealServer.start({ poolSize: 1 });
  const { stateDirectory } = other;
  const { sessionId } = await other.client.createSession(small);
  await other.client.execute(sessionId, "open('/tmp/x', 'w').write('x' * 1000000)");
  await other[Symbol.asyncDispose]();
  expect(tracesOf(stateDirectory)).toEqual([]);
  const after = readdirSync(tmpdir())
    .filter((name) => name.startsWith("instavm-"))
    .toSorted();
  expect(after.filter((name) => !before.includes(name) && stateDirectory.endsWith(name))).toEqual([]);
});
