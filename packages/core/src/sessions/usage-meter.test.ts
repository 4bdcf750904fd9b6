import { FakeClient, FakeWorld } from "@instavm/testkit";
import { InstaVmError } from "@instavm/contract";
import { describe, expect, test } from "vitest";

describe("what a session has used", () => {
  test("is counted on by the next server", async () => {
    await using world = new FakeWorld();
    const first = await world.startedServer();
    const client = new FakeClient(first.platform);
    const sessionId = await client.open();
    await client.execute(sessionId, "print(1)");
    const [process] = world.room.processes.values();
    if (process !== undefined) process.cpuMs = 700;
    await first.platform.close();
    const second = await world.startedServer();
    const usage = await second.platform.sessions.usage(client.caller, sessionId);
    expect(usage).toMatchObject({ executions: 1, cpuMs: 700 });
  });

  test("is not lost, and not counted twice, when it cannot be written down at once", async () => {
    await using world = new FakeWorld();
    const { platform, faults } = await world.startedServer();
    const client = new FakeClient(platform);
    const sessionId = await client.open();
    await client.execute(sessionId, "print(1)");
    faults.plan("sessions.addUsage", { kind: "fail", error: new InstaVmError("disk_full", "no room") });
    await world.clock.advance(10_000);
    expect(world.log.count("usage.record_failed")).toBe(1);
    await client.execute(sessionId, "print(1)");
    expect(await platform.sessions.usage(client.caller, sessionId)).toMatchObject({ executions: 2 });
    await world.clock.advance(10_000);
    expect(await platform.sessions.usage(client.caller, sessionId)).toMatchObject({ executions: 2 });
    expect(world.tables.usage.get(sessionId)).toBe(2);
  });

  test("includes the CPU time of a VM up to the moment in which it is killed", async () => {
    await using world = new FakeWorld();
    const { platform } = await world.startedServer();
    const client = new FakeClient(platform);
    const sessionId = await client.open();
    const [process] = world.room.processes.values();
    if (process !== undefined) process.cpuMs = 1200;
    await client.kill(sessionId);
    expect(await platform.sessions.usage(client.caller, sessionId)).toMatchObject({ cpuMs: 1200 });
  });
});
