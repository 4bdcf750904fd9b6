import { expect, test } from "vitest";
import { launcherPid, until, vmDirectories, vmProcesses, witnesses } from "./support/agreement.ts";
import { RealServer } from "./support/real-server.ts";

async function untilReady(server: RealServer, count: number): Promise<void> {
  await until(
    `the pool holds ${String(count)}`,
    async () => (await server.metric("instavm_pool_ready")) === count,
    120_000,
  );
}

const whoAmI = `
import random, uuid, socket, os
print(random.random(), uuid.uuid4(), os.urandom(8).hex(), socket.gethostname(), open('/etc/machine-id').read().strip())`;

test("the pool fills, a create takes from it and it fills again", async () => {
  await using server = await RealServer.start({ poolSize: 2 });
  expect(await server.metric("instavm_pool_size")).toBe(2);
  await untilReady(server, 2);
  const ready = [...vmProcesses(server).keys()];
  const session = await server.client.createSession();
  expect(session.start).toBe("pool");
  expect(ready).toContain(session.vmId);
  expect(await server.client.execute(session.sessionId, "print(6 * 7)")).toMatchObject({ stdout: "42\n" });
  expect(await server.metric('instavm_vm_starts_total{kind="pool"}')).toBe(1);
  await untilReady(server, 2);
  const seen = await witnesses(server, 1, { pooled: 2 });
  expect([seen.processes.length, seen.api]).toEqual([3, [session.vmId]]);
});

test("more creates than the pool holds are all served, those of another shape beside it", async () => {
  await using server = await RealServer.start({ poolSize: 2 });
  await untilReady(server, 2);
  const wanted = [{}, {}, {}, {}, { vcpuCount: 1, memoryMib: 128 } as const];
  const sessions = await Promise.all(wanted.map(async (shape) => await server.client.createSession(shape)));
  expect(sessions.filter(({ start }) => start === "pool").length).toBeGreaterThanOrEqual(2);
  expect(sessions.at(-1)?.start).toBe("clone");
  for (const { sessionId } of sessions)
    expect(await server.client.execute(sessionId, "print(1)")).toMatchObject({ stdout: "1\n" });
  await untilReady(server, 2);
  expect((await witnesses(server, 5, { pooled: 2 })).processes).toHaveLength(7);
});

test("VMs of the pool are individuals, with the host's time and the environment that was asked for", async () => {
  await using server = await RealServer.start({ poolSize: 3 });
  await untilReady(server, 3);
  const create = async (name: string) =>
    await server.client.createSession({ env: { WHO: name, SPACED: "a b 'c' $d\n" } });
  const sessions = await Promise.all(["one", "two", "three"].map(create));
  expect(sessions.map(({ start }) => start)).toEqual(["pool", "pool", "pool"]);
  const said = await Promise.all(
    sessions.map(async ({ sessionId }) => (await server.client.execute(sessionId, whoAmI)).stdout.trim().split(" ")),
  );
  for (const part of [0, 1, 2, 3, 4])
    expect(new Set(said.map((words) => words[part])).size, `part ${String(part)} of ${JSON.stringify(said)}`).toBe(3);
  for (const [index, { sessionId }] of sessions.entries()) {
    const name = ["one", "two", "three"][index];
    const python = await server.client.execute(
      sessionId,
      "import os, time; print(os.environ['WHO'], repr(os.environ['SPACED']), time.time())",
    );
    expect(python.stdout).toContain(`${String(name)} "a b 'c' $d\\n" `);
    expect(Math.abs(Number(python.stdout.trim().split(" ").at(-1)) * 1000 - Date.now())).toBeLessThan(10_000);
    const bash = await server.client.execute(sessionId, 'echo "$WHO"; printf %s "$SPACED" | od -An -c | tr -d " \\n"', {
      language: "bash",
    });
    expect(bash.stdout).toBe(`${String(name)}\nab'c'$d\\n`);
  }
});

test("a pooled VM that dies is replaced before anybody gets it", async () => {
  await using server = await RealServer.start({ poolSize: 1 });
  await untilReady(server, 1);
  const [dead] = [...vmProcesses(server)];
  process.kill(dead?.[1] ?? 0, "SIGKILL");
  await until("another one is ready", async () => {
    const ids = [...vmProcesses(server).keys()];
    return ids.length === 1 && ids[0] !== dead?.[0] && (await server.metric("instavm_pool_ready")) === 1;
  });
  const session = await server.client.createSession();
  expect(session).toMatchObject({ start: "pool" });
  expect(await server.client.execute(session.sessionId, "print(2)")).toMatchObject({ stdout: "2\n" });
});

test("a pooled VM that dies in the moment before a create costs at most the first call", async () => {
  await using server = await RealServer.start({ poolSize: 1 });
  for (let round = 0; round < 3; round += 1) {
    await untilReady(server, 1);
    const pooled = [...vmProcesses(server)].at(-1)?.[1] ?? 0;
    process.kill(pooled, "SIGKILL");
    const { sessionId } = await server.client.createSession();
    // It may have been handed over before anybody could know. Then the session gets a fresh one.
    await server.client
      .execute(sessionId, "print(3)")
      .catch((error: unknown) => expect(error).toMatchObject({ code: "vm_lost" }));
    expect(await server.client.execute(sessionId, "print(3)")).toMatchObject({ stdout: "3\n" });
    await server.client.kill(sessionId);
  }
});

test("without a pool nothing is kept ready", async () => {
  await using server = await RealServer.start({ poolSize: 0 });
  expect(await server.metric("instavm_pool_size")).toBe(0);
  const session = await server.client.createSession();
  expect(session.start).toBe("clone");
  expect(await witnesses(server, 1)).toEqual({
    api: [session.vmId],
    directories: [session.vmId],
    processes: [session.vmId],
  });
});

test("a server that stops takes the pool along and leaves the sessions", async () => {
  await using server = await RealServer.start({ poolSize: 2 });
  await untilReady(server, 2);
  const { sessionId, vmId } = await server.client.createSession();
  await server.stop();
  expect([...vmProcesses(server).keys()]).toEqual([vmId]);
  expect(vmDirectories(server)).toEqual([vmId]);
  await server.startAgain();
  expect(await server.client.execute(sessionId, "print(1)")).toMatchObject({ stdout: "1\n", vmId });
});

test("a server that is stopped while the pool fills leaves nothing of it", async () => {
  await using server = await RealServer.start({ poolSize: 2 });
  await until("a VM is being made", () => vmProcesses(server).size > 0);
  await server.stop();
  expect([...vmProcesses(server).keys(), ...vmDirectories(server)]).toEqual([]);
  await server.startAgain();
});

test("pooled VMs of a killed server do not outlive the next start", async () => {
  await using server = await RealServer.start({ poolSize: 2 });
  await untilReady(server, 2);
  const { vmId } = await server.client.createSession();
  for (let round = 0; round < 3; round += 1) {
    await until("the pool holds or makes one", () => vmProcesses(server).size > 1);
    const pooled = [...vmProcesses(server).keys()].filter((id) => id !== vmId);
    await server.crash();
    await server.startAgain();
    const left = [...vmProcesses(server).keys()];
    expect(left).toContain(vmId);
    expect(left.filter((id) => pooled.includes(id))).toEqual([]);
  }
  await untilReady(server, 2);
  expect((await witnesses(server, 1, { pooled: 2 })).processes).toHaveLength(3);
});

test("the pool outlives the loss of the launcher", async () => {
  await using server = await RealServer.start({ poolSize: 1 });
  await untilReady(server, 1);
  process.kill(launcherPid(server), "SIGKILL");
  const first = await server.client.createSession();
  expect(first.start).toBe("pool");
  await untilReady(server, 1);
  expect((await server.client.createSession()).start).toBe("pool");
});
