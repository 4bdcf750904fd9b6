import { FakeClient, FakeWorld, nothing, sampleVmId, settle } from "@instavm/testkit";
import { describe, expect, test } from "vitest";

describe.each(["stopped", "killed"] as const)("after a server was %s", (how) => {
  const restart = async (
    world: FakeWorld,
    server: Awaited<ReturnType<FakeWorld["startedServer"]>>,
  ): Promise<FakeClient> => {
    if (how === "stopped") await server.platform.close();
    else await server.kill();
    return new FakeClient((await world.startedServer()).platform);
  };

  test("sandboxes answer with their state", async () => {
    await using world = new FakeWorld();
    const server = await world.startedServer();
    const before = new FakeClient(server.platform);
    const sessions = [await before.open(), await before.open()];
    for (const [index, sessionId] of sessions.entries()) await before.execute(sessionId, `x = ${index}`);
    const after = await restart(world, server);
    for (const [index, sessionId] of sessions.entries()) {
      expect(await after.get(sessionId)).toMatchObject({ vmAlive: true, vm: { status: "active" } });
      expect(await after.print(sessionId, "print(x)")).toBe(`${index}\n`);
    }
    expect(world.remains()).toMatchObject({ processes: 2, directories: 2, openSessions: 2 });
  });

  test("their clocks are stepped and their identity stays", async () => {
    await using world = new FakeWorld();
    const server = await world.startedServer();
    const { vm } = await new FakeClient(server.platform).create();
    const { entropy, unixTimeMs } = { ...world.room.guest(vm?.vmId).state };
    world.clock.stepWallClock(100_000);
    await restart(world, server);
    const now = world.room.guest(vm?.vmId).state;
    expect([now.entropy, now.unixTimeMs - unixTimeMs]).toEqual([entropy, 100_000]);
  });

  test("a VM whose process ended meanwhile is said to have failed, and its session gets a fresh one", async () => {
    await using world = new FakeWorld();
    const server = await world.startedServer();
    const before = new FakeClient(server.platform);
    const { session, vm } = await before.create();
    if (how === "stopped") await server.platform.close();
    else await server.kill();
    world.room.kill(vm?.vmId);
    world.room.processes.clear();
    world.room.directories.add(sampleVmId(1));
    const after = new FakeClient((await world.startedServer()).platform);
    expect(await after.get(session.sessionId)).toMatchObject({ vmAlive: false, vm: { status: "failed" } });
    expect(world.remains()).toMatchObject({ processes: 0, directories: 0, liveVmRecords: 0 });
    expect(await after.execute(session.sessionId, "print(1)")).toMatchObject({ exitCode: 0, start: "clone" });
  });

  test("a session whose lifetime ended meanwhile is ended", async () => {
    await using world = new FakeWorld();
    const server = await world.startedServer();
    const before = new FakeClient(server.platform);
    const sessionId = await before.open({ lifetimeS: 20 });
    if (how === "stopped") await server.platform.close();
    else await server.kill();
    await world.clock.advance(30_000);
    const after = new FakeClient((await world.startedServer()).platform);
    await world.clock.advance(0);
    expect((await after.get(sessionId)).session.endReason).toBe("expired");
    expect(world.remains()).toEqual(nothing);
  });

  test("a VM whose agent does not answer counts as lost", async () => {
    await using world = new FakeWorld();
    const server = await world.startedServer();
    const before = new FakeClient(server.platform);
    const [deaf, well] = [await before.create(), await before.create()];
    if (how === "stopped") await server.platform.close();
    else await server.kill();
    world.room.guest(deaf.vm?.vmId).faults.isDeaf = true;
    const next = world.server();
    let isStarted = false;
    const started = next.platform.start().then(() => (isStarted = true));
    await world.clock.passUntil(() => isStarted, "the server has started");
    await started;
    const after = new FakeClient(next.platform);
    expect(await after.get(deaf.session.sessionId)).toMatchObject({ vmAlive: false, vm: { status: "failed" } });
    expect(await after.print(well.session.sessionId, "print(1)")).toBe("1\n");
    expect(world.remains()).toMatchObject({ processes: 1, directories: 1, liveVmRecords: 1 });
  });

  test("pooled VMs and whatever else nobody names are gone", async () => {
    await using world = new FakeWorld();
    const server = await world.startedServer((settings) => ({ ...settings, pool: { ...settings.pool, size: 2 } }));
    await world.clock.passUntil(() => world.room.openSessions === 2, "the pool is full");
    world.room.directories.add(sampleVmId(7));
    world.room.drafts.add("/room/templates/left");
    await restart(world, server);
    expect(world.remains()).toEqual(nothing);
  });
});

test("a VM that its session no longer names is ended", async () => {
  await using world = new FakeWorld();
  const server = await world.startedServer();
  const { session, vm } = await new FakeClient(server.platform).create();
  await server.kill();
  world.tables.sessions.set(session.sessionId, { ...session, vmId: undefined });
  await world.startedServer();
  expect(world.remains()).toMatchObject({ processes: 0, directories: 0, liveVmRecords: 0, liveSessionRecords: 1 });
  expect(vm && world.tables.vms.get(vm.vmId)?.status).toBe("terminated");
});

describe("a server that stops", () => {
  test("refuses new calls, cancels running ones and leaves the VMs", async () => {
    await using world = new FakeWorld();
    const { platform } = await world.startedServer();
    const client = new FakeClient(platform);
    const sessionId = await client.open();
    const running = client.execute(sessionId, "forever()", { limitMs: 600_000 });
    const refused = expect.objectContaining({ code: "unavailable" });
    const outcomes = Promise.allSettled([running, client.create()]);
    await settle();
    await platform.close();
    expect(await outcomes).toEqual([
      { status: "rejected", reason: refused },
      { status: "fulfilled", value: expect.anything() },
    ]);
    await expect(client.create()).rejects.toMatchObject({ code: "unavailable" });
    await expect(client.execute(sessionId, "print(1)")).rejects.toMatchObject({ code: "unavailable" });
    expect(world.remains()).toMatchObject({ processes: 2, openSessions: 0, liveVmRecords: 2 });
    expect(world.clock.timerCount).toBe(0);
  });

  test("twice stops once", async () => {
    await using world = new FakeWorld();
    const { platform, faults } = await world.startedServer();
    await new FakeClient(platform).open();
    await Promise.all([platform.close(), platform.close()]);
    expect(faults.points.filter((point) => point === "agent.detach").length).toBe(2);
  });
});
