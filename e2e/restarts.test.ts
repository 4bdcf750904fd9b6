import { expect, test } from "vitest";
import { setTimeout as sleep } from "node:timers/promises";
import { isRunning, until, vmProcess, witnesses } from "./support/agreement.ts";
import { RealServer } from "./support/real-server.ts";

/** The quickest to clone and the kindest to the host. */
const small = { vcpuCount: 1, memoryMib: 128 } as const;

test("sessions live on through a graceful stop, with their Python state and the same VM", async () => {
  await using server = await RealServer.start();
  const { sessionId, vmId } = await server.client.createSession(small);
  await server.client.execute(sessionId, "x = 41");
  const before = server.vmPids();
  await server.stop();
  expect(server.vmPids()).toEqual(before);
  await server.startAgain();
  const result = await server.client.execute(sessionId, "print(x + 1)");
  expect(result).toMatchObject({ stdout: "42\n", exitCode: 0, vmId });
  expect(await witnesses(server, 1)).toEqual({ api: [vmId], directories: [vmId], processes: [vmId] });
});

test("a session survives several restarts in a row, whichever way the server went", async () => {
  await using server = await RealServer.start();
  const { sessionId, vmId } = await server.client.createSession(small);
  await server.client.execute(sessionId, "count = 0");
  for (let round = 1; round <= 6; round += 1) {
    if (round % 2 === 0) await server.stop();
    else await server.crash();
    await server.startAgain();
    const result = await server.client.execute(sessionId, "count += 1; print(count)");
    expect(result).toMatchObject({ stdout: `${String(round)}\n`, vmId });
  }
  expect((await witnesses(server, 1)).processes).toEqual([vmId]);
});

test("a server that is killed while it creates sessions leaves nothing half-made", async () => {
  await using server = await RealServer.start();
  const kept = await server.client.createSession(small);
  await server.client.execute(kept.sessionId, "kept = 'intact'");
  for (const delayMs of [5, 60, 150, 300, 500, 900].map((most) => Math.random() * most)) {
    const { client } = server;
    const creates = [1, 2, 3].map(async () => await client.createSession(small));
    const outcomes = Promise.allSettled(creates);
    await sleep(delayMs);
    await server.crash();
    const answered = (await outcomes).filter((outcome) => outcome.status === "fulfilled");
    await server.startAgain();
    const sessions = await server.client.listSessions();
    expect(sessions.length).toBeGreaterThanOrEqual(1 + answered.length);
    const seen = await witnesses(server, sessions.length);
    expect(seen, `killed after ${String(delayMs)} ms`).toEqual({
      api: seen.api,
      directories: seen.api,
      processes: seen.api,
    });
    for (const { sessionId } of sessions) {
      expect(await server.client.execute(sessionId, "print(6 * 7)")).toMatchObject({
        stdout: "42\n",
        vmStart: undefined,
      });
      if (sessionId !== kept.sessionId) await server.client.kill(sessionId);
    }
  }
  expect(await server.client.execute(kept.sessionId, "print(kept)")).toMatchObject({
    stdout: "intact\n",
    vmId: kept.vmId,
  });
  expect((await witnesses(server, 1)).directories).toEqual([kept.vmId]);
});

test.each([
  ["sleeps", "import time; time.sleep(600)"],
  ["computes", "while True: pass"],
  ["prints without end", "while True: print('x' * 1000)"],
  ["waits for a program", "import subprocess; subprocess.run(['sleep', '601'])"],
])("a server that is killed while Python %s: the next one finds the interpreter with its state", async (_, code) => {
  await using server = await RealServer.start();
  const { sessionId, vmId } = await server.client.createSession(small);
  await server.client.execute(sessionId, "kept = [1, 2, 3]");
  for (const delayMs of [20, 300, 1500].map((most) => Math.random() * most)) {
    const lost = expect(server.client.execute(sessionId, code)).rejects.toThrow();
    await sleep(delayMs);
    await server.crash();
    await lost;
    await server.startAgain();
    const after = await server.client.execute(sessionId, "kept.append(len(kept) + 1); print(kept)", { timeoutS: 60 });
    expect(after, `killed after ${String(delayMs)} ms`).toMatchObject({
      exitCode: 0,
      vmId,
      contextLost: false,
      vmStart: undefined,
    });
  }
  expect(await server.client.execute(sessionId, "print(kept)")).toMatchObject({ stdout: "[1, 2, 3, 4, 5, 6]\n" });
  expect(await server.client.execute(sessionId, "pgrep -fx 'sleep 601'", { language: "bash" })).toMatchObject({
    stdout: "",
  });
});

test("a server that is killed while Bash runs: the next one finds the session, and nothing of that run", async () => {
  await using server = await RealServer.start();
  const { sessionId, vmId } = await server.client.createSession(small);
  await server.client.execute(sessionId, "kept = 7");
  const bash = { language: "bash" } as const;
  for (const delayMs of [20, 300, 1500].map((most) => Math.random() * most)) {
    const lost = expect(
      server.client.execute(sessionId, "echo begun >> /tmp/log; sleep 602 & sleep 602", bash),
    ).rejects.toThrow();
    await sleep(delayMs);
    await server.crash();
    await lost;
    await server.startAgain();
    expect(await server.client.execute(sessionId, "print(kept)")).toMatchObject({ stdout: "7\n", vmId });
    await until("the guest has ended the lost run", async () => {
      const { stdout } = await server.client.execute(sessionId, "pgrep -fx 'sleep 602' || echo none", bash);
      return stdout === "none\n";
    });
  }
});

test("a VM that died while the server was down: its session says so and the next call gets a fresh VM", async () => {
  await using server = await RealServer.start();
  const lost = await server.client.createSession(small);
  const other = await server.client.createSession(small);
  await server.client.execute(lost.sessionId, "x = 1");
  await server.client.execute(other.sessionId, "x = 2");
  await server.stop();
  process.kill(vmProcess(server, lost.vmId), "SIGKILL");
  await server.startAgain();
  expect(await server.client.sessionStatus(lost.sessionId)).toMatchObject({
    exists: true,
    vmAlive: false,
    usable: false,
    vmStatus: "killed",
  });
  expect(await server.client.sessionStatus(other.sessionId)).toMatchObject({ exists: true, vmAlive: true });
  const fresh = await server.client.execute(lost.sessionId, "print('x' in globals())");
  expect(fresh).toMatchObject({ stdout: "False\n", vmStart: "clone" });
  expect(fresh.vmId).not.toBe(lost.vmId);
  expect(await server.client.execute(other.sessionId, "print(x)")).toMatchObject({ stdout: "2\n", vmId: other.vmId });
  const expected = [fresh.vmId, String(other.vmId)].toSorted();
  expect(await witnesses(server, 2)).toEqual({ api: expected, directories: expected, processes: expected });
});

test("a lifetime that ran out while the server was down is over at the next start", async () => {
  await using server = await RealServer.start();
  const { sessionId, vmId } = await server.client.createSession({ ...small, lifetimeS: 20 });
  const pid = vmProcess(server, vmId);
  await server.stop();
  await sleep(21_000);
  expect(isRunning(pid)).toBe(true);
  await server.startAgain();
  await until("the VM is gone", () => !isRunning(pid));
  await expect(server.client.execute(sessionId, "print(1)")).rejects.toMatchObject({ code: "session_not_found" });
  expect(await witnesses(server, 0)).toEqual({ api: [], directories: [], processes: [] });
});

test("a server that is stopped while calls run answers them and is gone within its grace", async () => {
  await using server = await RealServer.start();
  const { sessionId } = await server.client.createSession(small);
  await server.client.execute(sessionId, "kept = 5");
  const lost = expect(server.client.execute(sessionId, "import time; time.sleep(600)")).rejects.toMatchObject({
    code: "unavailable",
  });
  await sleep(300);
  const startedAtMs = performance.now();
  await server.stop();
  expect(performance.now() - startedAtMs).toBeLessThan(15_000);
  await lost;
  await server.startAgain();
  expect(await server.client.execute(sessionId, "print(kept)")).toMatchObject({ stdout: "5\n", contextLost: false });
});
