import { randomBytes } from "node:crypto";
import { rename } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { InstaVmError } from "@instavm/contract";
import type { OutputEvent } from "@instavm/core";
import { FailureCode, Language } from "@instavm/protocol/guest";
import { describe, expect, it } from "vitest";
import { GuestLink } from "./agent-link.ts";
import { frameTypes, limits } from "./frame.ts";
import { concat, counting, fromHex, u32 } from "./golden/bytes.ts";
import { faultPeer, type PeerScript } from "./testing/fault-peer.ts";

const link = new GuestLink({ attemptTimeoutMs: 150, keepaliveMs: 100, connectTimeoutMs: 20_000 });
const attentive = new GuestLink({ keepaliveMs: 300, connectTimeoutMs: 20_000 });
const patient = new GuestLink({ connectTimeoutMs: 20_000 });

const silent: PeerScript = () => {};
const honest: PeerScript = async (peer) => {
  await peer.greet();
  await peer.letGo();
};

const drain = async (output: AsyncIterable<unknown>): Promise<number> => {
  let events = 0;
  for await (const _ of output) events += 1;
  return events;
};

describe("connecting to an agent", () => {
  it("skips banners and bytes of earlier sessions", async () => {
    await using peer = await faultPeer(async (connection) => {
      connection.banner();
      connection.write(fromHex("49564d31573031"));
      connection.write(randomBytes(70_000));
      connection.banner();
      connection.welcome(new Uint8Array(16).fill(9));
      await honest(connection);
    });
    await using session = await patient.connect(peer.socketPath);
    expect(session.closed).toBeInstanceOf(Promise);
    expect(peer.connections).toHaveLength(1);
  });

  it("tries again 50 ms after it was left without a welcome of its own", async () => {
    await using peer = await faultPeer(
      async (connection) => connection.welcome((await connection.hello()).toReversed()),
      async (connection) => {
        await connection.hello();
        connection.socket.destroy();
      },
      honest,
    );
    await using _session = await link.connect(peer.socketPath);
    const at = peer.connections.map(({ atMs }) => atMs);
    expect(at.length).toBeGreaterThanOrEqual(3);
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThanOrEqual(150 + 45);
    expect((at[2] ?? 0) - (at[1] ?? 0)).toBeGreaterThanOrEqual(45);
    await peer.connections[0]?.peer.closed();
  });

  it("gives each next attempt more time, so that a slow agent is reached", async () => {
    const slow: PeerScript = async (connection) => {
      const nonce = await connection.hello();
      await delay(400);
      connection.welcome(nonce);
      await connection.letGo();
    };
    await using peer = await faultPeer(slow);
    await using _session = await link.connect(peer.socketPath);
    expect(peer.connections.length).toBeGreaterThan(1);
  });

  it("tells an agent that was late to take its time what time it is then", async () => {
    const times: number[] = [];
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      const { streamId, open } = await connection.opened();
      if (open.call.case === "activate") times.push(Number(open.call.value.unixTimeNs) / 1e6);
      await delay(300);
      connection.end(streamId, { case: "activated", value: {} });
      const late = await connection.opened();
      if (late.open.call.case === "setClock") times.push(Number(late.open.call.value.unixTimeNs) / 1e6);
      connection.end(late.streamId, { case: "clockSet", value: {} });
      await connection.letGo();
    });
    const unixTimeMs = 1_800_000_000_000;
    await using _session = await patient.connect(peer.socketPath, { activate: { unixTimeMs, env: {} } });
    const [first = 0, second = 0] = times;
    expect([first >= unixTimeMs, second - first >= 290]).toEqual([true, true]);
  });

  it("gives up on a silent agent at its deadline and leaves no connection", async () => {
    await using peer = await faultPeer(silent);
    await expect(link.connect(peer.socketPath, { timeoutMs: 500 })).rejects.toMatchObject({
      code: "guest_unreachable",
      message: expect.stringContaining("within 500 ms"),
    });
    for (const { peer: connection } of peer.connections) await connection.closed();
  });

  it("gives up on an agent that says a lot and no welcome", async () => {
    await using peer = await faultPeer(async (connection) => {
      await connection.hello();
      connection.write(new Uint8Array(2 * 1024 * 1024).fill(0x49));
    });
    await expect(link.connect(peer.socketPath, { timeoutMs: 400 })).rejects.toMatchObject({
      code: "guest_unreachable",
    });
  });

  it("says at once that the agent speaks another version", async () => {
    await using peer = await faultPeer(async (connection) => connection.welcome(await connection.hello(), 7));
    await expect(patient.connect(peer.socketPath)).rejects.toMatchObject({
      code: "guest_protocol",
      message: expect.stringContaining("version 7; expected 1"),
    });
    expect(peer.connections).toHaveLength(1);
  });

  it("rejects with the signal's reason, also while it waits for a socket that is not there", async () => {
    await using peer = await faultPeer(silent);
    for (const path of [peer.socketPath, `${peer.socketPath}.missing`]) {
      const abort = new AbortController();
      const connecting = patient.connect(path, { signal: abort.signal });
      setTimeout(() => abort.abort(new RangeError("enough")), 30);
      await expect(connecting).rejects.toThrow(new RangeError("enough"));
    }
  });

  it("waits for a socket that appears later, and is there at once when it does", async () => {
    await using peer = await faultPeer(honest);
    const later = `${peer.socketPath}.later`;
    const connecting = patient.connect(later);
    await delay(150);
    const movedAtMs = performance.now();
    await rename(peer.socketPath, later);
    await using _session = await connecting;
    expect(performance.now() - movedAtMs).toBeLessThan(1000);
    expect(peer.connections).toHaveLength(1);
  });

  it("names a path that cannot be a socket at once", async () => {
    const tooLong = `/tmp/${"x".repeat(300)}`;
    await expect(patient.connect(tooLong)).rejects.toMatchObject({ code: "guest_unreachable" });
    await expect(patient.connect("/etc/passwd/agent.sock")).rejects.toMatchObject({ code: "guest_unreachable" });
  });

  it("sends activate right behind the hello, before any answer", async () => {
    await using peer = await faultPeer(async (connection) => {
      const nonce = await connection.hello();
      const { streamId, open } = await connection.opened();
      connection.welcome(nonce);
      connection.end(streamId, { case: "activated", value: {} });
      expect(open.call.case).toBe("activate");
      expect(open.call.value).toMatchObject({ hostname: "sandbox", env: { A: "1" }, keepIdentity: false });
      await connection.letGo();
    });
    const identity = { entropy: randomBytes(32), hostname: "sandbox", machineId: "0".repeat(32) };
    const activate = { identity, unixTimeMs: Date.now(), env: { A: "1" } };
    const session = await patient.connect(peer.socketPath, { activate });
    await session.detach();
    await peer.finished();
  });

  it("does not try again when activate failed, and leaves no connection", async () => {
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      const { streamId } = await connection.opened();
      connection.end(streamId, { case: "failure", value: { code: FailureCode.NO_ENTROPY, message: "reseed: EPERM" } });
      await connection.closed();
    });
    await expect(
      patient.connect(peer.socketPath, { activate: { unixTimeMs: Date.now(), env: {} } }),
    ).rejects.toMatchObject({ code: "guest_failure", message: "activate: reseed: EPERM" });
    await peer.finished();
    expect(peer.connections).toHaveLength(1);
  });
});

describe("an agent that misbehaves", () => {
  it("fails every call with guest_protocol when it sends garbage, and so does each later one", async () => {
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      await connection.opened();
      await connection.opened();
      connection.write(new Uint8Array(100).fill(0xee));
    });
    const session = await patient.connect(peer.socketPath);
    const exec = session.exec({ command: { argv: ["true"] } });
    const ping = session.ping();
    await expect(ping).rejects.toMatchObject({ code: "guest_protocol" });
    await expect(exec.ended).rejects.toMatchObject({ code: "guest_protocol" });
    await expect(drain(exec)).rejects.toMatchObject({ code: "guest_protocol" });
    expect(await session.closed).toMatchObject({ code: "guest_protocol" });
    await expect(session.ping()).rejects.toMatchObject({ code: "guest_protocol" });
    await session.detach();
  });

  it("says that the agent left the session when its banner comes in place of a frame", async () => {
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      await connection.opened();
      connection.banner();
    });
    const session = await patient.connect(peer.socketPath);
    await expect(session.ping()).rejects.toThrow(/its banner came in place of a frame/);
  });

  it("fails calls and writers with vm_lost when the connection ends", async () => {
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      for (let calls = 0; calls < 4; calls += 1) await connection.opened();
      connection.socket.destroy();
    });
    const session = await patient.connect(peer.socketPath);
    const exec = session.exec({ command: { argv: ["cat"] }, openStdin: true });
    const read = drain(session.readFile("/etc/hostname"));
    const write = session.writeFile(
      "/tmp/a",
      (async function* endless() {
        for (;;) yield new Uint8Array(60_000);
      })(),
    );
    const stdin = exec.write(new Uint8Array(1_000_000));
    const stats = session.stats();
    const ends = await Promise.allSettled([exec.ended, read, write, stdin, stats]);
    const lost = { status: "rejected", reason: expect.objectContaining({ code: "vm_lost" }) };
    expect(ends).toEqual([lost, lost, lost, lost, lost]);
    expect(await session.closed).toMatchObject({ code: "vm_lost" });
  });

  it("ends a file's writing though its source is stuck", async () => {
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      const { streamId } = await connection.opened();
      connection.end(streamId, { case: "failure", value: { code: FailureCode.NO_SPACE, message: "full" } });
      const next = await connection.opened();
      expect(next.open.call.case).toBe("ping");
      connection.socket.destroy();
    });
    const session = await patient.connect(peer.socketPath);
    const stuck = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) };
    await expect(session.writeFile("/a", stuck)).rejects.toMatchObject({ code: "guest_failure" });
    await expect(session.ping()).rejects.toMatchObject({ code: "vm_lost" });
  });

  it("is told to drop a file whose source failed", async () => {
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      await connection.opened();
      const types = [(await connection.frame()).type, (await connection.frame()).type];
      expect(types).toEqual([frameTypes.message, frameTypes.reset]);
    });
    const session = await patient.connect(peer.socketPath);
    const source = (async function* failing() {
      yield new Uint8Array(10);
      await delay(1);
      throw new RangeError("the upload broke");
    })();
    await expect(session.writeFile("/a", source)).rejects.toThrow("the upload broke");
    await peer.finished();
  });

  it("is asked whether it lives when it is silent during a call, and then given up", async () => {
    const seen: number[] = [];
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      await connection.opened();
      seen.push((await connection.frame()).type);
    });
    const session = await link.connect(peer.socketPath);
    const startedAtMs = performance.now();
    await expect(session.exec({ command: { argv: ["true"] } }).ended).rejects.toMatchObject({
      code: "guest_unreachable",
    });
    expect(performance.now() - startedAtMs).toBeGreaterThanOrEqual(195);
    expect(seen).toEqual([frameTypes.ping]);
    expect(await session.closed).toMatchObject({ code: "guest_unreachable" });
  });

  it("is left in peace while it answers the question, and when no call is open", async () => {
    let pings = 0;
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      const { streamId } = await connection.opened();
      for (; pings < 4; pings += 1) {
        const { payload } = await connection.frame();
        connection.send(0, frameTypes.pong, payload);
      }
      connection.end(streamId, { case: "execEnded", value: { exitCode: 0 } });
      const { type } = await connection.frame();
      expect(type).toBe(frameTypes.detach);
      connection.send(0, frameTypes.detached);
    });
    const session = await attentive.connect(peer.socketPath);
    expect(await session.exec({ command: { argv: ["true"] } }).ended).toMatchObject({ exitCode: 0 });
    await delay(700);
    await session.detach();
    expect(await session.closed).toBeUndefined();
    await peer.finished();
  });

  it("gets its PINGs answered, and is left when it floods us with them and reads no answer", async () => {
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      connection.send(0, frameTypes.ping, counting(64));
      const pong = await connection.frame();
      expect(pong).toMatchObject({ type: frameTypes.pong, payload: counting(64) });
      const flood = concat(
        ...Array.from({ length: 1000 }, () => concat(fromHex("400000000000000006000000"), counting(64))),
      );
      while (!connection.socket.closed) {
        connection.write(flood);
        await delay(1);
      }
    });
    const session = await patient.connect(peer.socketPath);
    expect(await session.closed).toMatchObject({ code: "guest_protocol", message: expect.stringContaining("PING") });
  });

  it("does not hold up leaving when it never says DETACHED, but who leaves is told", async () => {
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      await connection.closed();
    });
    const session = await patient.connect(peer.socketPath);
    const call = session.exec({ command: { argv: ["sleep", "9"] } });
    await Promise.all([session.detach({ timeoutMs: 50 }), session.detach()]);
    await expect(call.ended).rejects.toMatchObject({ code: "cancelled" });
    expect(await session.closed).toMatchObject({ code: "guest_unreachable" });
    await expect(session.ping()).rejects.toMatchObject({ code: "cancelled" });
    await peer.finished();
  });

  it.each([
    ["another call's outcome", { case: "pong", value: {} }],
    ["no outcome at all", { case: undefined }],
    ["an exit code that none is", { case: "execEnded", value: { exitCode: 256 } }],
    ["a negative exit code", { case: "execEnded", value: { exitCode: -1 } }],
    ["a signal that none is", { case: "execEnded", value: { signal: 65 } }],
    ["a time beyond all times", { case: "execEnded", value: { cpuUs: 2n ** 64n - 1n } }],
    ["a failure without a code", { case: "failure", value: { message: "x" } }],
  ] as const)("ends the session with %s", async (_, outcome) => {
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      const { streamId } = await connection.opened();
      connection.end(streamId, outcome);
    });
    const session = await patient.connect(peer.socketPath);
    await expect(session.exec({ command: { argv: ["true"] } }).ended).rejects.toMatchObject({ code: "guest_protocol" });
    expect(await session.closed).toMatchObject({ code: "guest_protocol" });
  });

  it.each([
    ["data", { case: "data", value: counting(1) }],
    ["a display", { case: "display", value: {} }],
  ] as const)("ends the session with %s in the output of a process", async (_, output) => {
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      const { streamId } = await connection.opened();
      connection.output(streamId, output);
    });
    const session = await patient.connect(peer.socketPath);
    await expect(drain(session.exec({ command: { argv: ["true"] } }))).rejects.toMatchObject({
      code: "guest_protocol",
    });
  });

  it("gets what it displays passed on, without parts whose names are no MIME types", async () => {
    const utf8 = new TextEncoder();
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      const { streamId } = await connection.opened();
      const many = Object.fromEntries(Array.from({ length: 100 }, (_, at) => [`text/x-${at}`, new Uint8Array(1)]));
      const data = { "text/html": utf8.encode("<b>6</b>"), "../../etc/passwd": utf8.encode("x"), "": utf8.encode("x") };
      connection.output(streamId, { case: "display", value: { data, isResult: true } });
      connection.output(streamId, { case: "display", value: { data: { "no mime": utf8.encode("x") } } });
      connection.output(streamId, { case: "display", value: { data: many } });
      connection.end(streamId, { case: "codeEnded", value: { language: Language.PYTHON } });
      await connection.letGo();
    });
    await using session = await patient.connect(peer.socketPath);
    const events: OutputEvent[] = [];
    for await (const event of session.runCode({ code: "6", language: "python" })) events.push(event);
    expect(events[0]).toEqual({
      type: "display",
      isResult: true,
      data: new Map([["text/html", utf8.encode("<b>6</b>")]]),
    });
    expect(events.map((event) => event.type === "display" && event.data.size)).toEqual([1, 32]);
  });

  it("gets displays in pieces passed on whole, and one that stays without its end not at all", async () => {
    const piece = new Uint8Array(60_000).map((_, at) => at);
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      const { streamId } = await connection.opened();
      const show = (data: Record<string, Uint8Array>, continues: boolean): void =>
        connection.output(streamId, { case: "display", value: { data, isResult: true, continues } });
      show({ "text/plain": piece.subarray(65, 70), "no mime": piece }, true);
      show({ "image/png": piece.subarray(0, 50_000) }, true);
      connection.output(streamId, { case: "stdout", value: piece.subarray(0, 1) });
      show({ "image/png": piece.subarray(50_000) }, true);
      show({}, false);
      show({}, true);
      show({}, false);
      show({ "text/html": piece }, true);
      connection.end(streamId, { case: "codeEnded", value: { language: Language.PYTHON, truncated: true } });
      await connection.letGo();
    });
    await using session = await patient.connect(peer.socketPath);
    const call = session.runCode({ code: "figure", language: "python" });
    const events: OutputEvent[] = [];
    for await (const event of call) events.push(event);
    expect(events.map(({ type }) => type)).toEqual(["stdout", "display"]);
    const data = events[1]?.type === "display" ? events[1].data : new Map<string, Uint8Array>();
    expect([...data.keys()]).toEqual(["text/plain", "image/png"]);
    expect(Buffer.compare(data.get("image/png") ?? Buffer.of(), piece)).toBe(0);
    expect(await call.ended).toMatchObject({ truncated: true });
  });

  it("gets no further with a display that has no end, and takes no memory while nobody reads it", async () => {
    const piece = { "image/png": new Uint8Array(60_000) };
    let sentBytes = 0;
    const reading = Promise.withResolvers<void>();
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      const { streamId } = await connection.opened();
      const show = (): void =>
        connection.output(streamId, { case: "display", value: { data: piece, continues: true } });
      // All that the window lets through, and then nothing is granted until somebody reads.
      for (; sentBytes + 60_100 <= 262_144; sentBytes += 60_100) show();
      const granted = connection.frame();
      expect(await Promise.race([granted, delay(200)])).toBeUndefined();
      reading.resolve();
      let room = 262_144 - sentBytes;
      for (let next = granted; !connection.socket.destroyed; next = connection.frame()) {
        const frame = await next.catch(() => undefined);
        if (frame === undefined) break;
        if (frame.type === frameTypes.credit) room += new DataView(frame.payload.slice().buffer).getUint32(0, true);
        for (; room >= 60_100; room -= 60_100) show();
      }
    });
    const session = await patient.connect(peer.socketPath);
    const call = session.runCode({ code: "figure", language: "python" });
    await reading.promise;
    await expect(drain(call)).rejects.toMatchObject({
      code: "guest_protocol",
      message: expect.stringContaining("expected at most 16777216"),
    });
    await peer.finished();
  });

  it("ends the session when cells end in no language, processes start twice or a file has another size than announced", async () => {
    const faults: PeerScript[] = [
      async (connection) => {
        await connection.greet();
        const { streamId } = await connection.opened();
        connection.end(streamId, { case: "codeEnded", value: { language: Language.DETECT } });
      },
      async (connection) => {
        await connection.greet();
        const { streamId } = await connection.opened();
        connection.output(streamId, { case: "started", value: { pid: 1 } });
        connection.output(streamId, { case: "started", value: { pid: 2 } });
      },
      async (connection) => {
        await connection.greet();
        const { streamId } = await connection.opened();
        connection.output(streamId, { case: "data", value: counting(3) });
        connection.end(streamId, { case: "fileRead", value: { bytes: 4n } });
      },
    ];
    await using peer = await faultPeer(...faults);
    const first = await patient.connect(peer.socketPath);
    await expect(first.runCode({ code: "1", language: "python" }).ended).rejects.toMatchObject({
      code: "guest_protocol",
    });
    const second = await patient.connect(peer.socketPath);
    await expect(second.exec({ command: { argv: ["a"] } }).ended).rejects.toMatchObject({ code: "guest_protocol" });
    const third = await patient.connect(peer.socketPath);
    await expect(drain(third.readFile("/a"))).rejects.toMatchObject({ code: "guest_protocol" });
    for (const session of [first, second, third]) expect(await session.closed).toBeInstanceOf(InstaVmError);
  });

  it.each([
    ["an id that is a path", { contextId: "../x", language: Language.BASH }],
    ["no id", { language: Language.BASH }],
    ["no language", { contextId: "a" }],
    ["a directory without end", { contextId: "a", language: Language.BASH, cwd: "/".repeat(10_000) }],
  ])("ends the session when it tells of a context with %s", async (_, context) => {
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      const { streamId } = await connection.opened();
      connection.end(streamId, { case: "contexts", value: { contexts: [context] } });
    });
    const session = await patient.connect(peer.socketPath);
    await expect(session.contexts.list()).rejects.toMatchObject({ code: "guest_protocol" });
    expect(await session.closed).toMatchObject({ code: "guest_protocol" });
  });

  it("gets no more than 256 calls at once, and the ended ones make room", async () => {
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      const ids: number[] = [];
      for (let calls = 0; calls < limits.openStreams; calls += 1) ids.push((await connection.opened()).streamId);
      for (const id of ids) connection.end(id, { case: "pong", value: {} });
      const { streamId } = await connection.opened();
      connection.end(streamId, { case: "pong", value: { agentVersion: "1\u001b[31m" } });
    });
    const session = await patient.connect(peer.socketPath);
    const pings = Array.from({ length: limits.openStreams }, () => session.ping());
    await expect(session.ping()).rejects.toMatchObject({ code: "capacity" });
    await Promise.all(pings);
    expect(await session.ping()).toEqual({ agentVersion: "1�[31m" });
  });

  it("is told to cancel a call that the caller gave up, and what it still sends for it is dropped", async () => {
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      const { streamId } = await connection.opened();
      connection.output(streamId, { case: "stdout", value: counting(5) });
      const reset = await connection.frame();
      expect(reset).toMatchObject({ streamId, type: frameTypes.reset });
      connection.output(streamId, { case: "stdout", value: counting(5) });
      connection.send(streamId, frameTypes.credit, u32(0xffffffff));
      connection.end(streamId, { case: "execEnded", value: { exitCode: 0 } });
      const next = await connection.opened();
      connection.end(next.streamId, { case: "pong", value: {} });
    });
    const session = await patient.connect(peer.socketPath);
    const abort = new AbortController();
    const call = session.exec({ command: { argv: ["sleep", "9"] } }, { signal: abort.signal });
    const events = call[Symbol.asyncIterator]();
    expect(await events.next()).toMatchObject({ value: { type: "stdout" } });
    const waiting = events.next();
    abort.abort(new RangeError("enough"));
    await expect(waiting).rejects.toThrow("enough");
    await expect(call.ended).rejects.toThrow("enough");
    await expect(session.ping()).resolves.toEqual({ agentVersion: "" });
    await peer.finished();
  });

  it("is not sent a call whose signal has fired, nor one that is too large or cannot be sent", async () => {
    await using peer = await faultPeer(honest);
    const session = await patient.connect(peer.socketPath);
    const signal = AbortSignal.abort(new RangeError("before"));
    await expect(session.ping({ signal })).rejects.toThrow("before");
    const env = { BIG: "x".repeat(300_000) };
    expect(() => session.exec({ command: { argv: ["true"] }, env })).toThrow(/at most 262144 are allowed/);
    const script = "x".repeat(250_000);
    expect(() => session.exec({ command: { script }, openStdin: true })).toThrow(/with open stdin at most/);
    await expect(drain(session.readFile("/a", { offset: -1 }))).rejects.toMatchObject({ code: "invalid" });
    await expect(session.writeFile("/a", new Uint8Array(1), { mode: 0.5 })).rejects.toMatchObject({ code: "invalid" });
    expect(() => session.exec({ command: { argv: ["cat"] } }).signal(65)).toThrow(/expected 1 to 64/);
  });

  it("keeps a writer waiting that it grants nothing, without more memory, until the caller gives up", async () => {
    let received = 0;
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      await connection.opened();
      for (;;) {
        const frame = await connection.frame();
        if (frame.type === frameTypes.reset) return;
        received += frame.payload.length;
      }
    });
    const session = await patient.connect(peer.socketPath);
    const abort = new AbortController();
    const call = session.exec({ command: { argv: ["cat"] }, openStdin: true }, { signal: abort.signal });
    const written = call.write(new Uint8Array(3_000_000));
    await delay(100);
    expect(received).toBeLessThanOrEqual(limits.firstInputWindowBytes);
    expect(received).toBeGreaterThan(limits.firstInputWindowBytes - 2 * limits.dataBytes);
    call.signal(15);
    abort.abort(new RangeError("enough"));
    await expect(written).rejects.toThrow("enough");
    await peer.finished();
  });
});
