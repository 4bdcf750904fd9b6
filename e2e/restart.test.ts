import { expect, test } from "vitest";
import { RealServer } from "./support/real-server.ts";

test("a session's variables and files outlive a server that is stopped and started again", async () => {
  await using server = await RealServer.start();
  const { sessionId, vmId } = await server.client.createSession();
  await server.client.execute(sessionId, "kept = 41");
  await server.stop();
  expect(server.vmPids()).toHaveLength(1);
  await server.startAgain();
  const result = await server.client.execute(sessionId, "print(kept + 1)");
  expect(result).toMatchObject({ stdout: "42\n", vmId, exitCode: 0 });
});

test("a session's variables outlive a server that is killed, and its pool does not", async () => {
  await using server = await RealServer.start({ poolSize: 2 });
  const { sessionId } = await server.client.createSession();
  await server.client.execute(sessionId, "kept = 41");
  await server.crash();
  await server.startAgain();
  const result = await server.client.execute(sessionId, "print(kept + 1)");
  expect(result).toMatchObject({ stdout: "42\n", exitCode: 0, vmStart: undefined });
});

test("a session whose VM is killed says so, and its next execute gets a fresh VM", async () => {
  await using server = await RealServer.start();
  const { sessionId, vmId } = await server.client.createSession();
  await server.client.execute(sessionId, "lost = 1");
  for (const pid of server.vmPids()) process.kill(pid, "SIGKILL");
  await expect
    .poll(async () => (await server.client.sessionStatus(sessionId)).vmAlive, { timeout: 10_000 })
    .toBe(false);
  const result = await server.client.execute(sessionId, "print('lost' in globals())");
  expect(result).toMatchObject({ stdout: "False\n", exitCode: 0 });
  expect(result.vmId).not.toBe(vmId);
  expect(result.vmStart).toBeDefined();
});

test("a port that is taken is said in one sentence with what to do", async () => {
  await using server = await RealServer.start();
  const second = RealServer.start({ port: Number(new URL(server.baseUrl).port) });
  await expect(second).rejects.toThrow(/the port is taken[\s\S]*--listen/);
});
