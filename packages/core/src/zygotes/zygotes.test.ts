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

  test.each(["machine.fork", "link.connect"])(
    "whose fork fails at %s is given up; the caller gets a file clone",
    async (point) => {
      const { world, server, client, awaitZygotes, startOf } = await forkingWorld();
      await using _end = world;
      await client.open();
      await awaitZygotes(1);
      server.faults.plan(point, { kind: "fail" });
      expect(await startOf(await client.open())).toBe("clone");
      await world.clock.advance(60_000);
      await client.open();
      await awaitZygotes(2);
      expect(await startOf(await client.open())).toBe("fork");
    },
  );

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
