import { failureOf, FakeClient, FakeWorld, nothing, settle } from "@instavm/testkit";
import { describe, expect, test } from "vitest";

const mib = 1024 * 1024;

async function openSession(world: FakeWorld): Promise<{
  client: FakeClient;
  sessionId: Awaited<ReturnType<FakeClient["open"]>>;
  server: Awaited<ReturnType<FakeWorld["startedServer"]>>;
}> {
  const server = await world.startedServer();
  const client = new FakeClient(server.platform);
  return { client, sessionId: await client.open(), server };
}

describe("a cell", () => {
  test("keeps its state for the next one", async () => {
    await using world = new FakeWorld();
    const { client, sessionId } = await openSession(world);
    await client.execute(sessionId, "x = 41");
    const result = await client.execute(sessionId, 'print(x)\nshow("rich")');
    expect(Buffer.from(result.stdout).toString()).toBe("41\n");
    expect(result).toMatchObject({
      exitCode: 0,
      timedOut: false,
      truncated: false,
      language: "python",
      error: undefined,
      contextLost: false,
      outOfMemory: false,
      start: undefined,
      readyMs: undefined,
      vmId: (await client.get(sessionId)).vm?.vmId,
    });
    expect(result.results.map(({ data }) => Buffer.from(data.get("text/plain") ?? []).toString())).toEqual(["rich"]);
  });

  test("without a language is what the guest makes of it", async () => {
    await using world = new FakeWorld();
    const { client, sessionId, server } = await openSession(world);
    const request = { sessionId, language: undefined, limitMs: 1000 };
    const run = async (code: string): Promise<string> =>
      (await server.platform.sessions.execute(client.caller, { ...request, code })).language;
    expect([await run("print(1)"), await run("echo hello")]).toEqual(["python", "bash"]);
  });

  test("that fails is a result, not an error", async () => {
    await using world = new FakeWorld();
    const { client, sessionId } = await openSession(world);
    const result = await client.execute(sessionId, "fail(boom)\nprint(1)");
    expect(result).toMatchObject({ exitCode: 1, error: { value: "boom" } });
    expect([Buffer.from(result.stderr).toString(), result.stdout.byteLength]).toEqual(["Error: boom\n", 0]);
    expect(await client.execute(sessionId, "exit(3)")).toMatchObject({ exitCode: 3, contextLost: true });
    expect(await client.print(sessionId, "print(1)")).toBe("1\n");
  });

  test("ends at its time limit and keeps what it printed", async () => {
    await using world = new FakeWorld();
    const { client, sessionId } = await openSession(world);
    const running = client.execute(sessionId, "print(1)\nforever()", { limitMs: 2_000 });
    await world.clock.advance(2_000);
    const result = await running;
    expect(result).toMatchObject({ exitCode: 124, timedOut: true, wallMs: 2_000 });
    expect(Buffer.from(result.stdout).toString()).toBe("1\n");
  });

  test("cannot fill the host's memory, whatever the guest makes of the limit", async () => {
    await using world = new FakeWorld();
    const { client, sessionId } = await openSession(world);
    const kept = await client.execute(sessionId, `output(${64 * mib})`);
    expect([kept.stdout.byteLength, kept.truncated]).toEqual([64 * mib, false]);
    const cut = await client.execute(sessionId, `output(${65 * mib})`);
    expect([cut.stdout.byteLength, cut.truncated]).toEqual([64 * mib, true]);
    const flooded = await client.execute(sessionId, `flood(${70 * mib})`);
    expect([flooded.stdout.byteLength, flooded.truncated]).toEqual([64 * mib, true]);
  });

  test("writes no record", async () => {
    await using world = new FakeWorld();
    const { client, sessionId, server } = await openSession(world);
    server.faults.clear();
    await client.execute(sessionId, "print(1)");
    expect(server.faults.points.filter((point) => !point.endsWith("!"))).toEqual(["sessions.find", "agent.runCode"]);
  });

  test("of Python waits for the one before; one of Bash does not", async () => {
    await using world = new FakeWorld();
    const { client, sessionId } = await openSession(world);
    const seen: string[] = [];
    const run = async (code: string, language: "python" | "bash"): Promise<void> => {
      await client.execute(sessionId, code, { language, limitMs: 60_000 });
      seen.push(code);
    };
    const all = [run("sleep(1000)", "python"), run("print(1)", "python"), run("echo hello", "bash")];
    await settle();
    expect(seen).toEqual(["echo hello"]);
    await world.clock.advance(1_000);
    await Promise.all(all);
    expect(seen).toEqual(["echo hello", "sleep(1000)", "print(1)"]);
  });

  test("is cancelled when its client goes away, and the session stays usable", async () => {
    await using world = new FakeWorld();
    const { client, sessionId } = await openSession(world);
    const gone = new AbortController();
    const running = client.execute(sessionId, "forever()", { signal: gone.signal, limitMs: 600_000 });
    await settle();
    gone.abort(new Error("client went away"));
    await expect(running).rejects.toThrow("client went away");
    expect(await client.print(sessionId, "print(1)")).toBe("1\n");
    expect(world.remains().processes).toBe(1);
  });
});

describe("a guest that misbehaves", () => {
  test("and does not end a cell is asked, before the time limit, whether it lives; if so the cell timed out", async () => {
    await using world = new FakeWorld();
    const { client, sessionId, server } = await openSession(world);
    await client.execute(sessionId, "x = 5");
    const running = client.execute(sessionId, "print(1)\nstuck()", { limitMs: 1_000 });
    await world.clock.advance(490);
    expect(server.faults.points).not.toContain("agent.ping");
    await world.clock.advance(20);
    expect(server.faults.points).toContain("agent.ping");
    await world.clock.advance(5_490);
    const result = await running;
    expect(result).toMatchObject({ exitCode: 124, timedOut: true, wallMs: 6_000, start: undefined });
    expect(Buffer.from(result.stdout).toString()).toBe("1\n");
    expect(await client.print(sessionId, "print(x)")).toBe("5\n");
  });

  test("and ends the cell late is believed when it says how", async () => {
    await using world = new FakeWorld();
    const { client, sessionId } = await openSession(world);
    const running = client.execute(sessionId, "print(1)\nlate(4990)", { limitMs: 1_000 });
    await world.clock.advance(6_100);
    expect(await running).toMatchObject({ exitCode: 124, timedOut: true, contextLost: true, wallMs: 5_990 });
  });

  test("a cell that only waits behind a longer one does not cost the VM", async () => {
    await using world = new FakeWorld();
    const { client, sessionId } = await openSession(world);
    const long = client.execute(sessionId, "sleep(30000)\nprint(1)", { limitMs: 60_000 });
    const behind = client.execute(sessionId, "print(2)", { limitMs: 1_000 });
    await world.clock.advance(30_000);
    expect((await behind).timedOut).toBe(true);
    expect(Buffer.from((await long).stdout).toString()).toBe("1\n");
  });

  test("and answers nothing is ended; the caller learns it and the next call works", async () => {
    await using world = new FakeWorld();
    const { client, sessionId } = await openSession(world);
    const dead = (await client.get(sessionId)).vm?.vmId;
    const failure = failureOf(client.execute(sessionId, "deaf()", { limitMs: 1_000 }));
    await world.clock.advance(20_000);
    expect(await failure).toMatchObject({
      code: "guest_unreachable",
      message: expect.stringContaining("did not answer a ping within"),
    });
    expect(world.remains()).toMatchObject({ processes: 0, directories: 0, liveSessionRecords: 1, liveVmRecords: 0 });
    expect((await client.get(sessionId)).vm).toMatchObject({ status: "failed", vmId: dead });
    const next = await client.execute(sessionId, "print(1)");
    expect(next).toMatchObject({ exitCode: 0, start: "clone" });
    expect(next.readyMs).toBeGreaterThanOrEqual(0);
    expect(next.vmId).not.toBe(dead);
  });

  test("is found out although its client has gone, and calls meanwhile wait for a fresh VM", async () => {
    await using world = new FakeWorld();
    const { client, sessionId } = await openSession(world);
    const gone = new AbortController();
    const failure = failureOf(client.execute(sessionId, "deaf()", { limitMs: 1_000, signal: gone.signal }));
    await world.clock.advance(6_100);
    gone.abort(new Error("client went away"));
    expect(await failure).toMatchObject({ message: "client went away" });
    const next = client.execute(sessionId, "print(1)", { limitMs: 60_000 });
    await world.clock.advance(10_000);
    expect(await next).toMatchObject({ exitCode: 0, start: "clone" });
    expect(world.remains()).toMatchObject({ processes: 1, directories: 1, liveVmRecords: 1 });
  });

  test("and answers garbage is ended; the next call works", async () => {
    await using world = new FakeWorld();
    const { client, sessionId } = await openSession(world);
    await expect(client.execute(sessionId, "garbage()")).rejects.toMatchObject({ code: "guest_protocol" });
    expect(await client.execute(sessionId, "print(1)")).toMatchObject({ exitCode: 0, start: "clone" });
    expect(world.remains().processes).toBe(1);
  });

  test("whose link drops is reached again, and keeps its state", async () => {
    await using world = new FakeWorld();
    const { client, sessionId } = await openSession(world);
    await client.execute(sessionId, "x = 5");
    await expect(client.execute(sessionId, "drop()")).rejects.toMatchObject({ code: "guest_unreachable" });
    expect(await client.execute(sessionId, "print(x)")).toMatchObject({ start: undefined });
    expect(await client.print(sessionId, "print(x)")).toBe("5\n");
  });

  test("whose link drops again at once is ended", async () => {
    await using world = new FakeWorld();
    const { client, sessionId } = await openSession(world);
    await expect(client.execute(sessionId, "drop()")).rejects.toMatchObject({ code: "guest_unreachable" });
    await expect(client.execute(sessionId, "drop()")).rejects.toMatchObject({ code: "guest_unreachable" });
    expect(await client.execute(sessionId, "print(1)")).toMatchObject({ start: "clone" });
    await expect(client.execute(sessionId, "drop()")).rejects.toMatchObject({ code: "guest_unreachable" });
    await world.clock.advance(60_000);
    await expect(client.execute(sessionId, "drop()")).rejects.toMatchObject({ code: "guest_unreachable" });
    expect(await client.execute(sessionId, "print(1)")).toMatchObject({ start: undefined });
  });
});

describe("a VM whose process dies", () => {
  test("while code runs: the call says so, the session gets a fresh one", async () => {
    await using world = new FakeWorld();
    const { client, sessionId } = await openSession(world);
    await expect(client.execute(sessionId, "crash()")).rejects.toMatchObject({
      code: "vm_lost",
      message: expect.stringContaining("signal 11"),
    });
    expect((await client.get(sessionId)).vm).toMatchObject({
      status: "failed",
      endReason: "its process ended (signal 11)",
    });
    expect(await client.execute(sessionId, "print(1)")).toMatchObject({ exitCode: 0, start: "clone" });
  });

  test("while nothing runs: the session says so, and the next call starts a fresh one with its environment", async () => {
    await using world = new FakeWorld();
    const { platform } = await world.startedServer();
    const client = new FakeClient(platform);
    const view = await client.create({ env: { COLOUR: "blue" }, shape: { vcpuCount: 1, memoryMib: 256 } });
    world.room.kill(view.vm?.vmId);
    await settle();
    const { sessionId } = view.session;
    expect(await client.get(sessionId)).toMatchObject({ vmAlive: false, vm: { status: "failed" } });
    expect(await client.print(sessionId, "print(env(COLOUR))")).toBe("blue\n");
    expect(await client.get(sessionId)).toMatchObject({
      vmAlive: true,
      vm: { status: "active", shape: { vcpuCount: 1, memoryMib: 256 } },
    });
    expect(world.remains()).toMatchObject({ processes: 1, directories: 1, liveVmRecords: 1 });
  });

  test("many calls at once start one fresh VM and share it", async () => {
    await using world = new FakeWorld();
    const { client, sessionId } = await openSession(world);
    world.room.kill((await client.get(sessionId)).vm?.vmId);
    const results = await Promise.all([1, 2, 3, 4, 5].map((number) => client.execute(sessionId, `print(${number})`)));
    expect(new Set(results.map(({ vmId }) => vmId)).size).toBe(1);
    expect(results.filter(({ start }) => start === "clone").length).toBe(1);
    expect(world.remains().processes).toBe(1);
  });

  test("killing the session while its fresh VM starts leaves nothing", async () => {
    await using world = new FakeWorld();
    const { client, sessionId, server } = await openSession(world);
    world.room.kill((await client.get(sessionId)).vm?.vmId);
    await settle();
    const killed = Promise.withResolvers<unknown>();
    server.faults.plan("link.connect", { kind: "happen", what: () => killed.resolve(client.kill(sessionId)) });
    await expect(client.execute(sessionId, "print(1)")).rejects.toMatchObject({ code: "session_not_found" });
    await killed.promise;
    expect(world.remains()).toEqual(nothing);
  });
});

describe("a lifetime that is over", () => {
  test("ends session and VM", async () => {
    await using world = new FakeWorld();
    const { platform } = await world.startedServer();
    const client = new FakeClient(platform);
    const sessionId = await client.open({ lifetimeS: 20 });
    await world.clock.advance(20_000);
    expect(world.remains()).toEqual(nothing);
    expect(await client.get(sessionId)).toMatchObject({
      session: { endReason: "expired" },
      vm: { status: "terminated", endReason: "its session's lifetime is over" },
      vmAlive: false,
    });
    const message = `Session ${sessionId} has ended: its lifetime of 20 s is over`;
    await expect(client.execute(sessionId, "print(1)")).rejects.toMatchObject({ code: "session_not_found", message });
  });

  test("ends code that runs, and its caller learns why", async () => {
    await using world = new FakeWorld();
    const { platform } = await world.startedServer();
    const client = new FakeClient(platform);
    const sessionId = await client.open({ lifetimeS: 20 });
    const running = client.execute(sessionId, "forever()", { limitMs: 60_000 });
    const failure = failureOf(running);
    await world.clock.advance(20_000);
    expect(await failure).toMatchObject({
      code: "session_not_found",
      message: expect.stringContaining("lifetime of 20 s"),
    });
    expect(world.remains()).toEqual(nothing);
  });

  test("refuses code even before the timer has fired", async () => {
    await using world = new FakeWorld();
    const { platform } = await world.startedServer();
    const client = new FakeClient(platform);
    const sessionId = await client.open({ lifetimeS: 20 });
    world.clock.stepWallClock(20_000);
    await expect(client.execute(sessionId, "print(1)")).rejects.toMatchObject({ code: "session_not_found" });
  });

  test("is tried again when the record cannot be written", async () => {
    await using world = new FakeWorld();
    const { platform, faults } = await world.startedServer();
    const client = new FakeClient(platform);
    await client.open({ lifetimeS: 20 });
    faults.plan("sessions.end", { kind: "fail" });
    await world.clock.advance(20_000);
    expect(world.remains()).toMatchObject({ processes: 0, liveSessionRecords: 1 });
    await world.clock.advance(10_000);
    expect(world.remains()).toEqual(nothing);
    expect(world.log.count("session.expire_failed")).toBe(1);
  });
});
