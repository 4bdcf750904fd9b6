import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { isRunning, launcherPid, until, vmProcess, vmProcesses, witnesses } from "./support/agreement.ts";
import { RealServer } from "./support/real-server.ts";
import { processesOf } from "./support/traces.ts";

const small = { vcpuCount: 1, memoryMib: 128 } as const;

async function killLauncher(server: RealServer): Promise<number> {
  const pid = launcherPid(server);
  process.kill(pid, "SIGKILL");
  await until("the launcher is gone", () => !isRunning(pid));
  return pid;
}

/** Kills all that runs for a server, as a power cut does. */
async function cutPower(server: RealServer): Promise<void> {
  const all = processesOf(server.stateDirectory);
  for (const { pid } of all) process.kill(pid, "SIGKILL");
  await server.crash();
  await until("everything is gone", () => all.every(({ pid }) => !isRunning(pid)));
}

test("VMs live on without their launcher; the next create starts another", async () => {
  await using server = await RealServer.start();
  const { sessionId, vmId } = await server.client.createSession(small);
  await server.client.execute(sessionId, "x = 41");
  const before = await killLauncher(server);
  expect(await server.client.execute(sessionId, "print(x + 1)")).toMatchObject({ stdout: "42\n", vmId });
  const next = await server.client.createSession(small);
  expect(await server.client.execute(next.sessionId, "print('next')")).toMatchObject({ stdout: "next\n" });
  expect(launcherPid(server)).not.toBe(before);
  const expected = [String(vmId), String(next.vmId)].toSorted();
  expect(await witnesses(server, 2)).toEqual({ api: expected, directories: expected, processes: expected });
});

test("the death of a VM that a later launcher has adopted is noticed", async () => {
  await using server = await RealServer.start();
  const { sessionId, vmId } = await server.client.createSession(small);
  const before = await killLauncher(server);
  await until("there is a launcher again", () => launcherPid(server) !== before);
  process.kill(vmProcess(server, vmId), "SIGKILL");
  await until("the session says so", async () => !(await server.client.sessionStatus(sessionId)).vmAlive);
  const fresh = await server.client.execute(sessionId, "print('fresh')");
  expect(fresh).toMatchObject({ stdout: "fresh\n", vmStart: "clone" });
  expect(await witnesses(server, 1)).toEqual({ api: [fresh.vmId], directories: [fresh.vmId], processes: [fresh.vmId] });
});

test("a VM that dies while there is no launcher is noticed", async () => {
  await using server = await RealServer.start();
  const { sessionId, vmId } = await server.client.createSession(small);
  const pid = vmProcess(server, vmId);
  process.kill(launcherPid(server), "SIGKILL");
  process.kill(pid, "SIGKILL");
  await until("the session says so", async () => !(await server.client.sessionStatus(sessionId)).vmAlive);
  expect(await server.client.execute(sessionId, "print('fresh')")).toMatchObject({
    stdout: "fresh\n",
    vmStart: "clone",
  });
  expect((await witnesses(server, 1)).directories).not.toContain(vmId);
});

test("killing a session ends its VM also when its launcher was lost", async () => {
  await using server = await RealServer.start();
  const sessions = await Promise.all([1, 2].map(async () => await server.client.createSession(small)));
  const pids = [...vmProcesses(server).values()];
  process.kill(launcherPid(server), "SIGKILL");
  await Promise.all(sessions.map(async ({ sessionId }) => await server.client.kill(sessionId)));
  expect(pids.filter(isRunning)).toEqual([]);
  expect(await witnesses(server, 0)).toEqual({ api: [], directories: [], processes: [] });
});

test("a launcher that is killed while VMs start: each create has its VM or an error, and nothing else is left", async () => {
  await using server = await RealServer.start();
  await server.client.createSession(small);
  let alive = 1;
  for (const delayMs of [5, 10, 20, 30, 40, 60, 100, 200].map((most) => Math.random() * most)) {
    const creates = Promise.allSettled([1, 2, 3].map(async () => await server.client.createSession(small)));
    await sleep(delayMs);
    const pid = launcherPid(server);
    if (isRunning(pid)) process.kill(pid, "SIGKILL");
    for (const outcome of await creates) {
      if (outcome.status === "rejected")
        expect(outcome.reason).toMatchObject({ code: "launcher_unreachable", retryable: true });
      else {
        alive += 1;
        expect(await server.client.execute(outcome.value.sessionId, "print(6 * 7)")).toMatchObject({ stdout: "42\n" });
      }
    }
    const seen = await witnesses(server, alive);
    expect(seen.api, `killed after ${String(delayMs)} ms`).toHaveLength(alive);
    expect(seen, `killed after ${String(delayMs)} ms`).toEqual({
      api: seen.api,
      directories: seen.api,
      processes: seen.api,
    });
  }
});

test("server and launcher killed at once: the next server finds the sessions", async () => {
  await using server = await RealServer.start();
  const { sessionId, vmId } = await server.client.createSession(small);
  await server.client.execute(sessionId, "x = 41");
  for (const first of ["launcher", "server"]) {
    if (first === "launcher") process.kill(launcherPid(server), "SIGKILL");
    const crashed = server.crash();
    if (first === "server") process.kill(launcherPid(server), "SIGKILL");
    await crashed;
    await server.startAgain();
    expect(await server.client.execute(sessionId, "print(x + 1)")).toMatchObject({ stdout: "42\n", vmId });
  }
  expect((await witnesses(server, 1)).processes).toEqual([vmId]);
  await server.client.kill(sessionId);
  expect(await witnesses(server, 0)).toEqual({ api: [], directories: [], processes: [] });
});

test("after a power cut the server starts, its sessions say that their VMs are lost, and get fresh ones", async () => {
  await using server = await RealServer.start();
  const sessions = await Promise.all([1, 2].map(async () => await server.client.createSession(small)));
  await cutPower(server);
  await server.startAgain();
  for (const { sessionId, vmId } of sessions) {
    expect(await server.client.sessionStatus(sessionId)).toMatchObject({ exists: true, vmAlive: false, usable: false });
    const fresh = await server.client.execute(sessionId, "print('fresh')");
    expect(fresh).toMatchObject({ stdout: "fresh\n", vmStart: "clone" });
    expect(fresh.vmId).not.toBe(vmId);
  }
  const seen = await witnesses(server, 2);
  expect(seen).toEqual({ api: seen.api, directories: seen.api, processes: seen.api });
});

test("a process that got the id of a VM from before a power cut is left alone", async () => {
  await using server = await RealServer.start();
  const { sessionId, vmId } = await server.client.createSession(small);
  await cutPower(server);
  const bystander = spawn("sleep", ["600"], { stdio: "ignore" });
  try {
    const path = join(server.stateDirectory, "vms", String(vmId), "process.json");
    writeFileSync(path, readFileSync(path, "utf8").replace(/"pid":\d+/, `"pid":${String(bystander.pid)}`));
    await server.startAgain();
    await server.client.kill(sessionId);
    expect(await witnesses(server, 0)).toEqual({ api: [], directories: [], processes: [] });
    expect(bystander.exitCode ?? bystander.signalCode).toBeNull();
  } finally {
    bystander.kill("SIGKILL");
    await once(bystander, "exit");
  }
});

test("what a killed server left in odd shape does not stop the next one", async () => {
  await using server = await RealServer.start();
  const { vmId } = await server.client.createSession(small);
  await cutPower(server);
  const directory = join(server.stateDirectory, "vms", String(vmId));
  writeFileSync(join(directory, "process.json"), "{ no json");
  writeFileSync(join(server.stateDirectory, "launcher.lock"), "no number");
  writeFileSync(join(server.stateDirectory, "vms", "not-a-vm"), "somebody's notes");
  await server.startAgain();
  const { sessionId } = await server.client.createSession(small);
  expect(await server.client.execute(sessionId, "print(1)")).toMatchObject({ stdout: "1\n" });
  expect([...vmProcesses(server).keys()]).toHaveLength(1);
});
