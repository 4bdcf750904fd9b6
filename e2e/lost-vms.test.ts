import { setTimeout as sleep } from "node:timers/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RealServer } from "./support/real-server.ts";
import { TestSession } from "./support/test-session.ts";
import { processesOf } from "./support/traces.ts";

let server: RealServer;

beforeAll(async () => {
  server = await RealServer.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** The QEMU process of a session's VM. */
async function vmProcess(session: TestSession): Promise<number> {
  const { vmId } = await session.client.getSession(session.sessionId);
  const directory = join(server.stateDirectory, "vms", String(vmId));
  const found = processesOf(directory).find(({ pid }) => server.vmPids().includes(pid));
  if (found === undefined) throw new Error(`VM ${String(vmId)} has no process`);
  return found.pid;
}

/** The session has another VM than before, with nothing of the old one's state, and only that one runs. */
async function expectFreshVm(session: TestSession, oldVmId: string | undefined): Promise<void> {
  const fresh = await session.python("'kept' in globals()");
  expect(fresh).toMatchObject({ stdout: "False\n", exitCode: 0, vmStart: "clone" });
  expect(fresh.vmId).not.toBe(oldVmId);
  expect(await session.bash('ls /app; echo "$COLOUR"')).toMatchObject({ stdout: "blue\n", vmId: fresh.vmId });
  expect(await session.client.sessionStatus(session.sessionId)).toMatchObject({
    usable: true,
    vmAlive: true,
    vmId: fresh.vmId,
  });
  await expect.poll(() => server.vmPids().length, { timeout: 20_000 }).toBe(1);
}

const env = { COLOUR: "blue" };

test("a VM whose process is killed while idle: the status says so, and the next call gets a fresh one", async () => {
  await using session = await TestSession.open(server, { env });
  await session.python("kept = 1; open('file', 'w').write('x')");
  process.kill(await vmProcess(session), "SIGKILL");
  await expect
    .poll(async () => await session.client.sessionStatus(session.sessionId), { timeout: 20_000 })
    .toMatchObject({ exists: true, vmAlive: false, usable: false, vmStatus: "killed" });
  await expectFreshVm(session, session.vmId);
});

test("a VM whose process is killed under a running call: the call says so, and the next one gets a fresh VM", async () => {
  await using session = await TestSession.open(server, { env });
  await session.python("kept = 1; open('file', 'w').write('x')");
  const pid = await vmProcess(session);
  const call = session.bash("sleep 50").catch((error: unknown) => error);
  await sleep(500);
  process.kill(pid, "SIGKILL");
  expect(await call).toMatchObject({ code: "vm_lost", retryable: true, message: expect.stringContaining("signal 9") });
  await expectFreshVm(session, session.vmId);
});

test("a guest that switches itself off loses its VM, not its session", async () => {
  await using session = await TestSession.open(server, { env });
  await session.python("kept = 1; open('file', 'w').write('x')");
  const call = session.bash("echo o > /proc/sysrq-trigger; sleep 50").catch((error: unknown) => error);
  expect(await call).toMatchObject({ code: "vm_lost", retryable: true });
  await expectFreshVm(session, session.vmId);
});

test("a VM that stands still: the call ends with an error within its time, and the next one gets a fresh VM", async () => {
  await using session = await TestSession.open(server, { env });
  await session.python("kept = 1; open('file', 'w').write('x')");
  const pid = await vmProcess(session);
  process.kill(pid, "SIGSTOP");
  const startedAtMs = performance.now();
  const error: unknown = await session.python("print(1)", { timeoutS: 3 }).catch((cause: unknown) => cause);
  expect(error).toMatchObject({ code: "gateway_timeout", retryable: true, message: expect.stringContaining("3 s") });
  expect(performance.now() - startedAtMs).toBeLessThan(3500);
  await expectFreshVm(session, session.vmId);
  expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
});

test("a VM that stands still for a moment keeps its state", async () => {
  await using session = await TestSession.open(server, { env });
  await session.python("kept = 5");
  const pid = await vmProcess(session);
  process.kill(pid, "SIGSTOP");
  const call = session.python("kept += 1; kept", { timeoutS: 30 });
  await sleep(2000);
  process.kill(pid, "SIGCONT");
  expect(await call).toMatchObject({ stdout: "6\n", vmId: session.vmId });
});

test("a killed session takes a VM that stands still with it", async () => {
  const session = await TestSession.open(server, { env });
  const pid = await vmProcess(session);
  process.kill(pid, "SIGSTOP");
  await session[Symbol.asyncDispose]();
  await expect.poll(() => server.vmPids(), { timeout: 20_000 }).not.toContain(pid);
});
