import { envLimits, metadataLimitBytes } from "@instavm/contract";
import type { ForkVmRequest, VmView } from "@instavm/core";
import { FakeClient, FakeWorld, nothing, sampleKeyId, sampleVmId, settle } from "@instavm/testkit";
import { describe, expect, test } from "vitest";

/** A world that forks, and a session in it that knows `x`. */
async function running() {
  const world = new FakeWorld();
  world.room.fork = { isPossible: true };
  const server = await world.startedServer((settings) => ({
    ...settings,
    zygotes: { ...settings.zygotes, memoryMib: 0 },
  }));
  const client = new FakeClient(server.platform);
  const { session, vm } = await client.create({ env: { FROM: "parent", KEPT: "yes" }, lifetimeS: 600 });
  await client.execute(session.sessionId, "x = 41");
  const fork = async (request?: Partial<ForkVmRequest>, by = client): Promise<readonly VmView[]> => {
    let isOver = false;
    const forking = by.fork(vm?.vmId, request);
    void forking.catch(() => {}).then(() => (isOver = true));
    await world.clock.passUntil(() => isOver, "the fork is over");
    return forking;
  };
  return { world, server, client, session, vmId: vm?.vmId ?? sampleVmId(99), fork };
}

describe("a fork", () => {
  test("gives each copy a session of its own, after its source's, with its memory", async () => {
    const { world, client, session, vmId, fork } = await running();
    await using _end = world;
    await world.clock.advance(5_000);
    const copies = await fork({ count: 3, name: "copy", env: { FROM: "fork" }, metadata: { branch: 1 } });
    expect(new Set([session.sessionId, ...copies.map(({ vm }) => vm.sessionId)]).size).toBe(4);
    for (const copy of copies) {
      expect(copy).toMatchObject({
        isAlive: true,
        vm: { status: "active", start: "fork", forkedFrom: vmId, shape: session.shape },
        session: { name: "copy", metadata: { branch: 1 }, lifetimeS: 600 },
      });
      expect(copy.session.expiresAtMs - copy.vm.createdAtMs).toBeGreaterThan(599_000);
      expect(await client.print(copy.vm.sessionId, "print(x)")).toBe("41\n");
      expect(await client.print(copy.vm.sessionId, "print(env(FROM))")).toBe("fork\n");
      expect(await client.print(copy.vm.sessionId, "print(env(KEPT))")).toBe("yes\n");
      const recorded = await client.get(copy.vm.sessionId);
      expect(recorded.session).toMatchObject({ keyId: sampleKeyId(1), env: { FROM: "fork", KEPT: "yes" } });
      expect(recorded.vm).toEqual(copy.vm);
    }
    expect(await client.print(session.sessionId, "print(env(FROM))")).toBe("parent\n");
    expect(world.remains()).toMatchObject({ processes: 4, liveSessionRecords: 4, liveVmRecords: 4 });
  });

  test("of a fork is a copy of that one; each lives and ends by itself", async () => {
    const { world, client, session, fork } = await running();
    await using _end = world;
    const [first] = await fork({ lifetimeS: 100 });
    const sessionId = first?.vm.sessionId ?? session.sessionId;
    await client.execute(sessionId, "x = 42");
    let second: readonly VmView[] | undefined;
    void client.fork(first?.vm.vmId, { lifetimeS: 300 }).then((made) => (second = made));
    await world.clock.passUntil(() => second !== undefined, "the fork of the fork is there");
    expect(second?.[0]?.vm.forkedFrom).toBe(first?.vm.vmId);
    const secondId = second?.[0]?.vm.sessionId ?? session.sessionId;
    await client.kill(session.sessionId);
    expect(await client.print(sessionId, "print(x)")).toBe("42\n");
    await world.clock.advance(101_000);
    expect((await client.get(sessionId)).session.endReason).toBe("expired");
    expect(await client.print(secondId, "print(x)")).toBe("42\n");
    await client.kill(secondId);
    expect(world.remains()).toEqual(nothing);
  });

  test("that dies is replaced by a VM that is nobody's copy, with the environment of the fork", async () => {
    const { world, client, session, fork } = await running();
    await using _end = world;
    const [copy] = await fork({ env: { FROM: "fork" } });
    const sessionId = copy?.vm.sessionId ?? session.sessionId;
    world.room.kill(copy?.vm.vmId ?? sampleVmId(99));
    await settle();
    expect(await client.print(sessionId, "print(env(FROM))")).toBe("fork\n");
    expect((await client.get(sessionId)).vm).toMatchObject({ forkedFrom: undefined, start: "clone" });
  });

  test("is of one's own VM only, and of one that runs", async () => {
    const { world, server, client, session, fork } = await running();
    await using _end = world;
    await expect(fork({}, new FakeClient(server.platform, 2))).rejects.toMatchObject({ code: "vm_not_found" });
    await client.kill(session.sessionId);
    await expect(fork()).rejects.toMatchObject({
      code: "vm_not_found",
      message: expect.stringContaining("its session was killed"),
    });
    expect(world.remains()).toEqual(nothing);
  });

  test("is refused where the engine cannot, with its reason, and leaves nothing", async () => {
    const { world, client, fork } = await running();
    await using _end = world;
    world.room.fork = { isPossible: false, reason: "it is not its day" };
    await expect(fork({ count: 20 })).rejects.toMatchObject({ code: "not_forkable", message: /its day/u });
    expect(world.remains()).toMatchObject({ processes: 1, directories: 1, liveSessionRecords: 1 });
    expect(await client.list(10)).toHaveLength(1);
  });

  test("whose environment or metadata would be too much with its source's is refused before anything is made", async () => {
    const { world, server, fork } = await running();
    await using _end = world;
    server.faults.clear();
    const env = { A: "x".repeat(envLimits.bytes - 5) };
    await expect(fork({ env })).rejects.toMatchObject({ code: "invalid", errors: [{ loc: ["body", "env"] }] });
    const metadata = { a: "x".repeat(metadataLimitBytes) };
    await expect(fork({ metadata })).rejects.toMatchObject({
      code: "invalid",
      errors: [{ loc: ["body", "metadata"] }],
    });
    expect(server.faults.points.filter((point) => point.startsWith("machine."))).toEqual([]);
  });

  test("whose copy is killed as soon as it is recorded leaves nothing of that one", async () => {
    const { world, server, client, session, fork } = await running();
    await using _end = world;
    const killed = Promise.withResolvers<unknown>();
    server.faults.plan("sessions.insertAll!", {
      kind: "happen",
      what: () => {
        const copy = [...world.tables.sessions.values()].find(({ sessionId }) => sessionId !== session.sessionId);
        killed.resolve(copy && client.kill(copy.sessionId));
      },
    });
    await Promise.all([fork({ count: 2 }), killed.promise]);
    await settle();
    expect(world.remains()).toMatchObject({ processes: 2, directories: 2, liveSessionRecords: 2, liveVmRecords: 2 });
  });

  test("is given up when it takes too long, and nothing of it is left", async () => {
    const { world, client, session, vmId } = await running();
    await using _end = world;
    world.room.onGuest = (guest) => (guest.faults.hangsAtBoot = true);
    let error: unknown;
    client.fork(vmId, { count: 2 }, { timeoutMs: 5_000 }).catch((reason: unknown) => (error = reason));
    await world.clock.passUntil(() => error !== undefined, "it is given up");
    expect(error).toMatchObject({ code: "unavailable", message: expect.stringContaining("5000 ms") });
    expect(world.remains()).toMatchObject({ processes: 1, directories: 1, liveSessionRecords: 1 });
    expect(await client.print(session.sessionId, "print(x)")).toBe("41\n");
  });
});
