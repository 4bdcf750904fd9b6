import { FakeClient, FakeWorld, sampleVmId } from "@instavm/testkit";
import { describe, expect, test } from "vitest";

/** A VM of a session that knows `x`, and its host. */
async function running() {
  const world = new FakeWorld();
  world.room.fork = { isPossible: true };
  const server = await world.startedServer((settings) => ({
    ...settings,
    zygotes: { ...settings.zygotes, memoryMib: 0 },
  }));
  const client = new FakeClient(server.platform);
  const { session, vm } = await client.create({ env: { FROM: "parent" } });
  await client.execute(session.sessionId, "x = 41");
  const vmId = vm?.vmId ?? sampleVmId(99);
  const fork = async (count: number, signal?: AbortSignal) => {
    let isOver = false;
    const forking = server.platform.host.fork(vmId, { count, env: { FROM: "fork" } }, signal);
    // Its copies wait for a moment of the world's clock.
    void forking.catch(() => {}).then(() => (isOver = true));
    await world.clock.passUntil(() => isOver, "the forks are made");
    return forking;
  };
  return { world, server, client, sessionId: session.sessionId, vmId, fork };
}

describe("the fork of a VM that runs", () => {
  test("has its memory and an identity of its own, and the VM goes on", async () => {
    const { world, client, sessionId, vmId, fork } = await running();
    await using _end = world;
    const copies = await fork(3);
    const states = copies.map(({ sandbox }) => world.room.guest(sandbox.vmId).state);
    expect(states.map(({ variables, env }) => [variables.get("x"), env.get("FROM")])).toEqual(
      Array.from({ length: 3 }, () => ["41", "fork"]),
    );
    const all = [...states, world.room.guest(vmId).state];
    expect(new Set(all.map(({ entropy }) => entropy)).size).toBe(4);
    expect(copies.map(({ start }) => start)).toEqual(["fork", "fork", "fork"]);
    expect(await client.print(sessionId, "print(x)")).toBe("41\n");
    for (const { sandbox } of copies) await sandbox.destroy({ cause: "killed", reason: "the test is over" });
    expect(world.remains()).toMatchObject({ processes: 1, directories: 1 });
  });

  test.each(["machine.fork", "link.connect", "directories.create"])(
    "is all or nothing when %s fails",
    async (point) => {
      const { world, server, client, sessionId, fork } = await running();
      await using _end = world;
      server.faults.plan(point, { kind: "fail" });
      await expect(fork(3)).rejects.toThrow("planned fault");
      expect(world.remains()).toMatchObject({ processes: 1, directories: 1 });
      expect(await client.print(sessionId, "print(x)")).toBe("41\n");
    },
  );

  test("is refused, with the reason, where the engine cannot, and for a VM that does not run", async () => {
    const { world, server, vmId, fork } = await running();
    await using _end = world;
    world.room.fork = { isPossible: false, reason: "it is not its day" };
    await expect(fork(1)).rejects.toMatchObject({ code: "not_forkable", message: expect.stringContaining("its day") });
    world.room.kill(vmId);
    const gone = server.platform.host.fork(sampleVmId(5), { count: 1, env: {} });
    await expect(gone).rejects.toMatchObject({ code: "vm_not_found" });
  });

  test("that is called off leaves nothing", async () => {
    const { world, server, fork } = await running();
    await using _end = world;
    const leaving = new AbortController();
    server.faults.plan("link.connect", { kind: "happen", what: () => leaving.abort(new Error("called off")) });
    await expect(fork(2, leaving.signal)).rejects.toThrow("called off");
    expect(world.remains()).toMatchObject({ processes: 1, directories: 1 });
  });
});
