import { InstaVmError } from "@instavm/contract";
import { FakeClient, FakeWorld, nothing, settle } from "@instavm/testkit";
import { describe, expect, test } from "vitest";

/** A world whose engine can fork, and a started server of it. */
async function forkingWorld(zygotes: { readonly memoryMib?: number; readonly poolSize?: number } = {}) {
  const world = new FakeWorld();
  world.room.fork = { isPossible: true };
  const { memoryMib = 2048, poolSize = 0 } = zygotes;
  const server = await world.startedServer((settings) => ({
    ...settings,
    zygotes: { ...settings.zygotes, memoryMib },
    pool: { ...settings.pool, size: poolSize },
  }));
  const client = new FakeClient(server.platform);
  const made = (): number => world.log.count("zygote.made");
  const awaitZygotes = (count: number): Promise<void> =>
    world.clock.passUntil(() => made() >= count, `${count} zygotes were made`);
  const startOf = async (sessionId: Awaited<ReturnType<typeof client.open>>): Promise<string | undefined> =>
    (await client.get(sessionId)).vm?.start;
  return { world, server, client, made, awaitZygotes, startOf };
}

describe("a zygote", () => {
  test("is made in the background of the first create; later ones are its forks", async () => {
    const { world, client, awaitZygotes, startOf } = await forkingWorld();
    await using _end = world;
    const first = await client.open();
    expect(await startOf(first)).toBe("clone");
    await awaitZygotes(1);
    const sessions = [await client.open({ env: { NAME: "a" } }), await client.open()];
    expect(await Promise.all(sessions.map(startOf))).toEqual(["fork", "fork"]);
    expect(await Promise.all(sessions.map((sessionId) => client.print(sessionId, "print(env(NAME))")))).toEqual([
      "a\n",
      "\n",
    ]);
  });

  test("gives each fork an identity of its own", async () => {
    const { world, client, awaitZygotes } = await forkingWorld();
    await using _end = world;
    await client.open();
    await awaitZygotes(1);
    const views = [await client.create(), await client.create(), await client.create()];
    const guests = views.map(({ vm }) => world.room.guest(vm?.vmId).state);
    expect(new Set(guests.map(({ entropy }) => entropy)).size).toBe(3);
    expect(guests.map(({ hostname }) => hostname)).toEqual(views.map(({ vm }) => vm?.vmId));
  });

  test("is not handed out when its forks are twins, or compute wrong", async () => {
    const { world, client } = await forkingWorld();
    await using _end = world;
    world.room.onGuest = (guest, origin) => {
      if (origin !== "fork") return;
      guest.activate = ({ unixTimeMs }) => void (guest.state.unixTimeMs = unixTimeMs);
    };
    await client.open();
    await world.clock.passUntil(() => world.log.count("zygote.not_made") > 0, "it is refused");
    world.room.onGuest = () => {};
    expect((await client.create()).vm?.start).toBe("clone");
    expect(world.room.processes.size).toBe(2);
  });

  test("that dies is replaced, and its forks live on", async () => {
    const { world, client, awaitZygotes, startOf } = await forkingWorld();
    await using _end = world;
    await client.open();
    await awaitZygotes(1);
    const fork = await client.open();
    await client.execute(fork, "x = 7");
    const zygote = [...world.room.processes.values()].find(({ isPaused }) => isPaused);
    zygote?.end({ kind: "signalled", signal: 9 });
    await settle();
    expect(await startOf(await client.open())).toBe("clone");
    await awaitZygotes(2);
    expect(await startOf(await client.open())).toBe("fork");
    expect(await client.print(fork, "print(x)")).toBe("7\n");
  });

  test.each(["internal", "engine_failed", "not_forkable", "guest_protocol", "vm_lost"] as const)(
    "whose fork fails with %s is given up; the caller gets a file clone",
    async (code) => {
      const { world, server, client, awaitZygotes, startOf } = await forkingWorld();
      await using _end = world;
      await client.open();
      await awaitZygotes(1);
      const point = code === "guest_protocol" || code === "vm_lost" ? "link.connect" : "machine.fork";
      server.faults.plan(point, { kind: "fail", error: new InstaVmError(code, "a planned fault") });
      expect(await startOf(await client.open())).toBe("clone");
      await world.clock.advance(60_000);
      await client.open();
      await awaitZygotes(2);
      expect(await startOf(await client.open())).toBe("fork");
    },
  );

  test("stays when a fork's agent does not answer in time, which leaves nothing; three in a row are its end", async () => {
    const { world, server, client, awaitZygotes, startOf } = await forkingWorld();
    await using _end = world;
    await client.open();
    await awaitZygotes(1);
    const silentStart = async (): Promise<string | undefined> => {
      const error = new InstaVmError("guest_unreachable", "no agent answers");
      server.faults.plan("link.connect", { kind: "fail", error });
      return await startOf(await client.open());
    };
    expect([await silentStart(), await silentStart()]).toEqual(["clone", "clone"]);
    expect(world.room.openSessions).toBe(3);
    expect(world.room.processes.size).toBe(4);
    expect(await startOf(await client.open())).toBe("fork");
    expect([await silentStart(), await silentStart()]).toEqual(["clone", "clone"]);
    expect(world.log.count("zygote.given_up")).toBe(0);
    expect(await silentStart()).toBe("clone");
    expect(world.log.count("zygote.given_up")).toBe(1);
  });

  test.each([
    { silences: 1, isMade: true },
    { silences: 2, isMade: true },
    { silences: 3, isMade: false },
  ])("whose probes stay silent $silences times in a row is made: $isMade", async ({ silences, isMade }) => {
    const { world, client } = await forkingWorld();
    await using _end = world;
    let forks = 0;
    world.room.onGuest = (guest, origin) => {
      if (origin !== "fork") return;
      forks += 1;
      guest.faults.isDeaf = forks > 1 && forks <= 1 + silences;
    };
    await client.open();
    const isSettled = (): boolean => world.log.count("zygote.made") + world.log.count("zygote.not_made") > 0;
    await world.clock.passUntil(isSettled, "it is made, or not");
    expect(world.log.count("zygote.made")).toBe(isMade ? 1 : 0);
    expect(world.room.processes.size).toBe(isMade ? 2 : 1);
  });

  test("stays when a fork finds the disk full", async () => {
    const { world, server, client, awaitZygotes, startOf } = await forkingWorld();
    await using _end = world;
    await client.open();
    await awaitZygotes(1);
    const error = new InstaVmError("disk_full", "no room for a disk");
    server.faults.plan("machine.fork", { kind: "fail", error });
    await expect(client.open()).rejects.toMatchObject({ code: "disk_full" });
    expect(await startOf(await client.open())).toBe("fork");
  });

  test("fills the pool too", async () => {
    const { world, awaitZygotes } = await forkingWorld({ poolSize: 3 });
    await using _end = world;
    await world.clock.passUntil(() => world.room.openSessions === 3, "the pool is full");
    await awaitZygotes(1);
    expect([...world.room.processes.values()].filter(({ origin }) => origin === "fork").length).toBeGreaterThan(0);
  });

  test("that cannot be forked any more does not keep the pool from being filled", async () => {
    const { world, server, awaitZygotes } = await forkingWorld({ poolSize: 2 });
    await using _end = world;
    await awaitZygotes(1);
    server.faults.plan("machine.fork", { kind: "fail", error: new InstaVmError("not_forkable", "an open pipe") });
    await world.clock.passUntil(() => world.log.count("zygote.given_up") === 1, "it is given up");
    await world.clock.passUntil(() => world.room.openSessions === 2, "the pool is full");
    expect([...world.room.processes.values()].some(({ origin }) => origin === "clone")).toBe(true);
  });

  test("is made for each shape within the memory; the least recently used goes", async () => {
    const { world, client, awaitZygotes, startOf } = await forkingWorld({ memoryMib: 1024 });
    await using _end = world;
    const small = { vcpuCount: 2, memoryMib: 512 } as const;
    const wide = { vcpuCount: 4, memoryMib: 512 } as const;
    const large = { vcpuCount: 2, memoryMib: 1024 } as const;
    await client.open({ shape: small });
    await awaitZygotes(1);
    await client.open({ shape: wide });
    await awaitZygotes(2);
    expect(await startOf(await client.open({ shape: small }))).toBe("fork");
    await client.open({ shape: large });
    await awaitZygotes(3);
    expect(await startOf(await client.open({ shape: large }))).toBe("fork");
    expect([...world.room.processes.values()].filter(({ isPaused }) => isPaused).length).toBe(1);
    const huge = { vcpuCount: 2, memoryMib: 2048 } as const;
    await client.open({ shape: huge });
    expect(await startOf(await client.open({ shape: huge }))).toBe("clone");
  });

  test("is not tried where the engine cannot fork", async () => {
    await using world = new FakeWorld();
    const client = new FakeClient((await world.startedServer()).platform);
    await client.open();
    await settle();
    expect((await client.create()).vm?.start).toBe("clone");
    expect(world.log.count("zygote.none")).toBe(1);
  });

  test("leaves nothing when the server stops, made or half-made", async () => {
    for (const isMade of [true, false]) {
      const { world, server, client, awaitZygotes } = await forkingWorld();
      await using _end = world;
      const sessionId = await client.open();
      if (isMade) await awaitZygotes(1);
      await client.kill(sessionId);
      await server.platform.close();
      expect(world.remains()).toEqual(nothing);
    }
  });
});
