import { failureOf, type Fault, FakeClient, FakeWorld, nothing, sampleKeyId, settle } from "@instavm/testkit";
import { describe, expect, test } from "vitest";

describe("a new session", () => {
  test("has a running VM of its own with the asked environment and a record of both", async () => {
    await using world = new FakeWorld();
    const { platform } = await world.startedServer();
    const client = new FakeClient(platform);
    const view = await client.create({ env: { COLOUR: "blue" }, lifetimeS: 60 });
    expect(view).toMatchObject({
      session: { keyId: 1, lifetimeS: 60, endedAtMs: undefined, vmId: view.vm?.vmId },
      vm: { status: "active", start: "clone", sessionId: view.session.sessionId },
      vmAlive: true,
    });
    expect(view.readyMs).toBeGreaterThanOrEqual(0);
    expect(view.session.expiresAtMs - view.session.createdAtMs).toBe(60_000);
    expect(await client.print(view.session.sessionId, "print(env(COLOUR))")).toBe("blue\n");
    expect(world.remains()).toMatchObject({ processes: 1, directories: 1, openSessions: 1, drafts: 0 });
  });

  test("is no twin: name, machine id, entropy and clock are its own", async () => {
    await using world = new FakeWorld();
    const { platform } = await world.startedServer();
    const client = new FakeClient(platform);
    const views = [await client.create(), await client.create()];
    const states = views.map(({ vm }) => world.room.guest(vm?.vmId).state);
    expect(states.map(({ hostname }) => hostname)).toEqual(views.map(({ vm }) => vm?.vmId));
    expect(new Set(states.map(({ entropy }) => entropy)).size).toBe(2);
    expect(new Set(states.map(({ machineId }) => machineId)).size).toBe(2);
    for (const { entropy, machineId, unixTimeMs } of states) {
      expect(entropy).toMatch(/^[0-9a-f]{128}$/);
      expect(machineId).toMatch(/^[0-9a-f]{32}$/);
      expect(unixTimeMs).toBe(world.clock.nowMs());
    }
  });

  test("is not begun when its client has gone already", async () => {
    await using world = new FakeWorld();
    const { platform, faults } = await world.startedServer();
    faults.clear();
    const gone = AbortSignal.abort(new Error("client went away"));
    await expect(new FakeClient(platform).create({}, { signal: gone })).rejects.toThrow("client went away");
    expect(faults.points).toEqual([]);
  });

  test("that is not ready in time is given up, and nothing is left", async () => {
    await using world = new FakeWorld();
    const { platform } = await world.startedServer();
    const client = new FakeClient(platform);
    await client.kill(await client.open());
    world.room.onGuest = (guest) => (guest.faults.hangsAtBoot = true);
    const created = client.create({}, { timeoutMs: 5_000 });
    const failure = failureOf(created);
    await world.clock.advance(5_000);
    expect(await failure).toMatchObject({ code: "unavailable", message: expect.stringContaining("5000 ms") });
    expect(world.remains()).toEqual(nothing);
  });

  test("survives one clone that does not come up", async () => {
    await using world = new FakeWorld();
    const { platform } = await world.startedServer();
    const client = new FakeClient(platform);
    await client.open();
    let clones = 0;
    world.room.onGuest = (guest) => (guest.faults.hangsAtBoot = (clones += 1) === 1);
    const created = client.create();
    await world.clock.passUntil(() => world.remains().openSessions === 2, "the second clone is up");
    expect(await client.print((await created).session.sessionId, "print(1)")).toBe("1\n");
    expect([clones, world.remains().processes, world.log.count("vm.clone_again")]).toEqual([2, 2, 1]);
  });

  test("says that the image is missing", async () => {
    await using world = new FakeWorld();
    world.room.hasImage = false;
    const { platform } = await world.startedServer();
    await expect(new FakeClient(platform).create()).rejects.toMatchObject({ code: "image_missing" });
    expect(world.remains()).toEqual(nothing);
  });
});

test("a hundred creates at once start a few VMs at a time, and all of them run", async () => {
  await using world = new FakeWorld();
  const { platform } = await world.startedServer((settings) => ({ ...settings, startsAtOnce: 3 }));
  const client = new FakeClient(platform);
  let starting = 0;
  let most = 0;
  world.room.onGuest = (_guest, origin) => {
    if (origin === "clone") most = Math.max(most, (starting += 1) - world.room.openSessions);
  };
  const sessions = await Promise.all(Array.from({ length: 100 }, () => client.open()));
  const printed = await Promise.all(sessions.map((sessionId, index) => client.print(sessionId, `print(${index}*2)`)));
  expect(printed).toEqual(sessions.map((_, index) => `${index * 2}\n`));
  expect(most).toBeLessThanOrEqual(3);
  const { startsByKind, vmCount } = await platform.host.status();
  expect([startsByKind, vmCount]).toEqual([{ pool: 0, fork: 0, clone: 100, boot: 0 }, 100]);
});

describe("a session is its owner's alone", () => {
  test("to others it does not exist, and they cannot kill it", async () => {
    await using world = new FakeWorld();
    const { platform } = await world.startedServer();
    const [owner, other] = [new FakeClient(platform, 1), new FakeClient(platform, 2)];
    const sessionId = await owner.open();
    const unknown = { code: "session_not_found", message: `Session ${sessionId} does not exist` };
    await expect(other.get(sessionId)).rejects.toMatchObject(unknown);
    await expect(other.execute(sessionId, "print(1)")).rejects.toMatchObject(unknown);
    await expect(other.kill(sessionId)).rejects.toMatchObject({ code: "forbidden" });
    expect(await owner.print(sessionId, "print(1)")).toBe("1\n");
  });

  test("a list holds one's own, newest first, ended ones too", async () => {
    await using world = new FakeWorld();
    const { platform } = await world.startedServer();
    const [owner, other] = [new FakeClient(platform, 1), new FakeClient(platform, 2)];
    const first = await owner.open();
    await other.open();
    const second = await owner.open();
    await owner.kill(first);
    const views = await owner.list(10);
    expect(views.map(({ session, vmAlive }) => [session.sessionId, session.keyId, vmAlive])).toEqual([
      [second, sampleKeyId(1), true],
      [first, sampleKeyId(1), false],
    ]);
    expect((await owner.list(1)).length).toBe(1);
  });
});

describe("killing", () => {
  test("ends VM and session, and the view says so", async () => {
    await using world = new FakeWorld();
    const { platform } = await world.startedServer();
    const client = new FakeClient(platform);
    const sessionId = await client.open();
    expect(await client.kill(sessionId)).toMatchObject({
      session: { endReason: "killed", endedAtMs: world.clock.nowMs() },
      vm: { status: "terminated", endReason: "its session was killed" },
      vmAlive: false,
    });
    expect(world.remains()).toEqual(nothing);
    const ended = { code: "session_not_found", message: `Session ${sessionId} has ended: it was killed` };
    await expect(client.kill(sessionId)).rejects.toMatchObject(ended);
    await expect(client.execute(sessionId, "print(1)")).rejects.toMatchObject(ended);
    await world.clock.advance(400_000);
    expect((await client.get(sessionId)).session.endReason).toBe("killed");
  });

  test("twice at once works once", async () => {
    await using world = new FakeWorld();
    const { platform } = await world.startedServer();
    const client = new FakeClient(platform);
    const sessionId = await client.open();
    const outcomes = await Promise.allSettled([client.kill(sessionId), client.kill(sessionId)]);
    expect(outcomes.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(world.remains()).toEqual(nothing);
  });

  test("a session whose create is not finished yet ends it as well", async () => {
    await using world = new FakeWorld();
    const { platform, faults } = await world.startedServer();
    const client = new FakeClient(platform);
    await client.kill(await client.open());
    const killed = Promise.withResolvers<unknown>();
    const killCreated: Fault = {
      kind: "happen",
      what: () => {
        const created = [...world.tables.sessions.values()].find(({ endedAtMs }) => endedAtMs === undefined);
        killed.resolve(created && client.kill(created.sessionId));
      },
    };
    faults.plan("sessions.insert!", killCreated);
    const created = client.create();
    await Promise.all([created, killed.promise]);
    await settle();
    expect(world.remains()).toEqual(nothing);
  });
});
