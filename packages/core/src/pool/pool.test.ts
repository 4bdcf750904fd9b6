import type { PlatformSettings } from "../platform.ts";
import { FakeClient, type FakeServer, FakeWorld, nothing, settle } from "@instavm/testkit";
import { describe, expect, test } from "vitest";

type Change = (settings: PlatformSettings) => PlatformSettings;

function pooled(size: number, more: Partial<PlatformSettings["pool"]> = {}): Change {
  return (settings) => ({ ...settings, pool: { ...settings.pool, size, ...more } });
}

/** The number of ready VMs, looked at again and again. */
async function passUntilReady(world: FakeWorld, { platform }: FakeServer, wanted: number): Promise<void> {
  let ready = -1;
  await world.clock.passUntil(() => {
    void platform.host.status().then(({ pool }) => (ready = pool.ready));
    return ready === wanted;
  }, `${wanted} VMs are ready`);
}

async function readyCount({ platform }: FakeServer): Promise<number> {
  return (await platform.host.status()).pool.ready;
}

describe("the pool", () => {
  test("fills by itself with warm individuals that no record names", async () => {
    await using world = new FakeWorld();
    const server = await world.startedServer(pooled(2));
    await passUntilReady(world, server, 2);
    const states = [...world.room.processes.values()].map(({ guest }) => guest.state);
    expect(new Set(states.map(({ entropy }) => entropy)).size).toBe(2);
    expect([...world.room.processes.values()].map(({ priority }) => priority)).toEqual(["normal", "normal"]);
    expect(world.tables.vms.size).toBe(0);
    expect(await server.platform.host.status()).toMatchObject({ pool: { size: 2, ready: 2 }, vmCount: 0 });
  });

  test("hands over without a word to the guest, and refills", async () => {
    await using world = new FakeWorld();
    const server = await world.startedServer(pooled(1));
    await passUntilReady(world, server, 1);
    server.faults.clear();
    const client = new FakeClient(server.platform);
    const view = await client.create();
    const beforeRecord = server.faults.points.slice(0, server.faults.points.indexOf("sessions.insert"));
    expect([view.vm?.start, beforeRecord]).toEqual(["pool", []]);
    expect(await client.print(view.session.sessionId, "print(hostname())")).toBe(`${view.vm?.vmId}\n`);
    await passUntilReady(world, server, 1);
    expect(world.remains().processes).toBe(2);
  });

  test("tells the guest its environment, and leaves its identity alone", async () => {
    await using world = new FakeWorld();
    const server = await world.startedServer(pooled(1));
    await passUntilReady(world, server, 1);
    const [entropy] = [...world.room.processes.values()].map(({ guest }) => guest.state.entropy);
    const client = new FakeClient(server.platform);
    const view = await client.create({ env: { COLOUR: "blue" } });
    expect(view.vm?.start).toBe("pool");
    expect(await client.print(view.session.sessionId, "print(env(COLOUR))")).toBe("blue\n");
    expect(world.room.guest(view.vm?.vmId).state.entropy).toBe(entropy);
  });

  test("serves its own shape only", async () => {
    await using world = new FakeWorld();
    const server = await world.startedServer(pooled(1));
    await passUntilReady(world, server, 1);
    const client = new FakeClient(server.platform);
    expect((await client.create({ shape: { vcpuCount: 1, memoryMib: 512 } })).vm?.start).toBe("clone");
    expect((await client.create()).vm?.start).toBe("pool");
  });

  test("of size 0 makes nothing", async () => {
    await using world = new FakeWorld();
    await world.startedServer(pooled(0));
    await world.clock.advance(60_000);
    expect([world.remains(), world.room.templates.size]).toEqual([nothing, 0]);
  });

  test("never starts more than one VM at a time, in the background", async () => {
    await using world = new FakeWorld();
    const priorities: string[] = [];
    let most = 0;
    world.room.onGuest = (_guest, origin) => {
      if (origin !== "clone") return;
      most = Math.max(most, world.room.processes.size - world.room.openSessions);
    };
    const server = await world.startedServer(pooled(3));
    server.faults.plan("machine.prioritise", {
      kind: "happen",
      what: () => priorities.push(...[...world.room.processes.values()].map(({ priority }) => priority)),
    });
    await passUntilReady(world, server, 3);
    expect([most, priorities]).toEqual([0, ["background"]]);
  });
});

test("a pooled VM that does not come up in the background gets its full share of the cores", async () => {
  await using world = new FakeWorld();
  world.room.onGuest = (guest, origin) => (guest.faults.hangsAtBoot = origin === "clone");
  await world.startedServer(pooled(1));
  await world.clock.passUntil(() => world.room.processes.size === 1 && world.room.templates.size === 1, "it starts");
  const [process] = world.room.processes.values();
  expect(process?.priority).toBe("background");
  await world.clock.advance(6_000);
  expect(process?.priority).toBe("normal");
  if (process !== undefined) process.guest.faults.hangsAtBoot = false;
  await world.clock.passUntil(() => world.remains().openSessions === 1, "it is up");
});

describe("a pooled VM", () => {
  test("that dies is replaced", async () => {
    await using world = new FakeWorld();
    const server = await world.startedServer(pooled(1));
    await passUntilReady(world, server, 1);
    const [vmId] = world.room.processes.keys();
    world.room.kill(vmId);
    await settle();
    expect(await readyCount(server)).toBe(0);
    await passUntilReady(world, server, 1);
    expect([...world.room.processes.keys()]).not.toContain(vmId);
    expect(world.remains()).toMatchObject({ processes: 1, directories: 1 });
  });

  test("that got old is replaced", async () => {
    await using world = new FakeWorld();
    const server = await world.startedServer(pooled(1, { maxAgeMs: 600_000 }));
    await passUntilReady(world, server, 1);
    const [vmId] = world.room.processes.keys();
    await world.clock.advance(600_000);
    await passUntilReady(world, server, 1);
    expect([...world.room.processes.keys()]).not.toContain(vmId);
    expect(world.remains()).toMatchObject({ processes: 1, directories: 1 });
  });

  test("that was handed over is the session's and does not get old", async () => {
    await using world = new FakeWorld();
    const server = await world.startedServer(pooled(1, { maxAgeMs: 600_000 }));
    await passUntilReady(world, server, 1);
    const client = new FakeClient(server.platform);
    const sessionId = await client.open({ lifetimeS: 86_400 });
    await world.clock.advance(3_000_000);
    expect(await client.print(sessionId, "print(1)")).toBe("1\n");
  });

  test("that does not answer at the hand-over is passed over", async () => {
    await using world = new FakeWorld();
    const server = await world.startedServer(pooled(2));
    await passUntilReady(world, server, 2);
    const [first] = world.room.processes.values();
    if (first !== undefined) first.guest.faults.isDeaf = true;
    const client = new FakeClient(server.platform);
    const created = client.create({ env: { A: "1" } });
    await world.clock.passUntil(() => world.log.count("pool.hand_over_failed") === 1, "the first is given up");
    expect((await created).vm?.start).toBe("pool");
    expect((await created).vm?.vmId).not.toBe(first?.vmId);
  });
});

describe("clients' work goes first", () => {
  test("an empty pool waits a moment, not for ever", async () => {
    await using world = new FakeWorld();
    const server = await world.startedServer(pooled(0));
    const client = new FakeClient(server.platform);
    const sessionId = await client.open({ lifetimeS: 3600 });
    await server.platform.close();
    const next = await world.startedServer(pooled(1, { starvedWaitMs: 1_000 }));
    const running = new FakeClient(next.platform).execute(sessionId, "sleep(600000)", { limitMs: 900_000 });
    await world.clock.advance(900);
    expect([world.remains().processes, await readyCount(next)]).toEqual([1, 0]);
    await world.clock.advance(200);
    await passUntilReady(world, next, 1);
    await world.clock.advance(600_000);
    expect((await running).exitCode).toBe(0);
  });

  test("a pool that still has some waits longer", async () => {
    await using world = new FakeWorld();
    const server = await world.startedServer(pooled(2, { starvedWaitMs: 1_000, patience: 10 }));
    await passUntilReady(world, server, 2);
    const client = new FakeClient(server.platform);
    const sessionId = await client.open({ lifetimeS: 3600 });
    const running = client.execute(sessionId, "sleep(600000)", { limitMs: 900_000 });
    await world.clock.advance(9_000);
    expect(await readyCount(server)).toBe(1);
    await passUntilReady(world, server, 2);
    await world.clock.advance(600_000);
    expect((await running).exitCode).toBe(0);
  });
});

describe("making a pooled VM", () => {
  test("that fails is tried again, later each time", async () => {
    await using world = new FakeWorld();
    world.room.hasImage = false;
    const server = await world.startedServer(pooled(1));
    await world.clock.advance(1_000);
    const early = world.log.count("pool.make_failed");
    await world.clock.advance(600_000);
    const late = world.log.count("pool.make_failed");
    expect(early).toBeLessThanOrEqual(2);
    expect(late).toBeGreaterThan(8);
    expect(late).toBeLessThan(20);
    world.room.hasImage = true;
    await passUntilReady(world, server, 1);
    expect(world.remains()).toMatchObject({ processes: 1, directories: 1 });
  });

  test("stops with the server at any point and leaves nothing", async () => {
    let total = 200;
    for (let at = 1; at <= total; at += 1) {
      await using world = new FakeWorld();
      const server = world.server(pooled(1));
      let closed: Promise<void> | undefined;
      server.faults.plan(at, { kind: "happen", what: () => void (closed = server.platform.close()) });
      const started = server.platform.start();
      await world.clock.advance(100);
      await started;
      if (closed === undefined) total = at;
      await (closed ?? server.platform.close());
      await settle();
      expect({ at, ...world.remains() }).toEqual({ at, ...nothing });
    }
    expect(total).toBeGreaterThan(60);
    expect(total).toBeLessThan(200);
  });
});
