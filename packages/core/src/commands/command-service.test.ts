import { InstaVmError, type VmId } from "@instavm/contract";
import { eventually, failureOf, FakeClient, FakeWorld, nothing } from "@instavm/testkit";
import { describe, expect, test } from "vitest";
import type { GuestProcess, ProcessOutputEvent } from "../ports/agent-processes.ts";
import type { Commands, ReadOutputRequest } from "./commands.ts";

interface Opened {
  readonly client: FakeClient;
  readonly stranger: FakeClient;
  readonly vm: { readonly vmId: VmId };
  readonly commands: Commands;
}

async function openCommands(world: FakeWorld): Promise<Opened> {
  const { platform } = await world.startedServer();
  const client = new FakeClient(platform);
  const { vm } = await client.get(await client.open());
  if (vm === undefined) throw new InstaVmError("internal", "the session has no VM");
  return { client, stranger: new FakeClient(platform, 2), vm, commands: platform.commands };
}

async function* pieces(...texts: readonly string[]): AsyncGenerator<Uint8Array, void, undefined> {
  for (const text of texts) yield Buffer.from(text);
}

/** A reader of one command's output; `part` beside its beginning and end. */
class Reader {
  text = "";
  readonly positions: ProcessOutputEvent[] = [];
  readonly end: Promise<GuestProcess>;
  /** Awaited before more is taken. */
  pace: () => Promise<void> = async () => undefined;

  constructor(
    { client, vm, commands }: Opened,
    processId: number,
    part: Partial<ReadOutputRequest> & { readonly signal?: AbortSignal } = {},
  ) {
    const { signal, ...rest } = part;
    const request = { vm, processId, offset: 0, fromEnd: false, follow: true, ...rest };
    const waiting = signal === undefined ? {} : { signal };
    this.end = commands.readOutput(client.caller, request, { ...waiting, take: (event) => this.#take(event) });
    this.end.catch(() => {});
  }

  async #take(event: ProcessOutputEvent): Promise<void> {
    await this.pace();
    if (event.type === "position") this.positions.push(event);
    else this.text += Buffer.from(event.data).toString();
  }
}

describe("a command", () => {
  test("is started, listed, written to, read and remembered", async () => {
    await using world = new FakeWorld();
    const opened = await openCommands(world);
    const { client, vm, commands } = opened;
    const request = { vm, command: { script: "echo begun; cat; error done; exit 3" }, openStdin: true, tag: "a tag" };
    const { processId } = await commands.start(client.caller, request);
    const place = { vm, processId };
    const reader = new Reader(opened, processId);
    expect(await commands.writeStdin(client.caller, { ...place, content: pieces("one ", "two"), close: false })).toBe(
      7,
    );
    expect(await commands.get(client.caller, { ...place, waitMs: 0 })).toMatchObject({
      tag: "a tag",
      stdinIsOpen: true,
      ended: undefined,
    });
    await commands.writeStdin(client.caller, { ...place, content: pieces("\n"), close: true });
    expect(await reader.end).toMatchObject({ ended: { exitCode: 3 }, outputBytes: 19 });
    expect(reader.text).toBe("begun\none two\ndone\n");
    const closed = commands.writeStdin(client.caller, { ...place, content: pieces("x"), close: false });
    expect(await failureOf(closed)).toMatchObject({ code: "conflict" });
    const late = new Reader(opened, processId, { offset: 6, follow: false });
    await late.end;
    expect([late.text, late.positions]).toEqual([
      "one two\ndone\n",
      [{ type: "position", offset: 6, droppedBytes: 0 }],
    ]);
    expect((await commands.list(client.caller, vm)).map((each) => each.processId)).toEqual([processId]);
    expect(await commands.forget(client.caller, place)).toMatchObject({ processId });
    expect(await failureOf(commands.forget(client.caller, place))).toMatchObject({ code: "command_not_found" });
    expect(await failureOf(new Reader(opened, processId).end)).toMatchObject({ code: "command_not_found" });
  });

  test("is waited for to its end, or for as long as was asked", async () => {
    await using world = new FakeWorld();
    const { client, vm, commands } = await openCommands(world);
    const { processId } = await commands.start(client.caller, { vm, command: { script: "sleep 5000" } });
    const get = (waitMs: number) => commands.get(client.caller, { vm, processId, waitMs });
    const short = get(1000);
    await world.clock.advance(1500);
    expect((await short).ended).toBeUndefined();
    const long = get(60_000);
    await world.clock.advance(4000);
    expect((await long).ended).toMatchObject({ exitCode: 0 });
    expect((await get(60_000)).ended).toMatchObject({ exitCode: 0 });
  });

  test("ends by a signal", async () => {
    await using world = new FakeWorld();
    const { client, vm, commands } = await openCommands(world);
    const { processId } = await commands.start(client.caller, { vm, command: { script: "forever" } });
    await commands.signal(client.caller, { vm, processId, signal: 15 });
    expect((await commands.get(client.caller, { vm, processId, waitMs: 1000 })).ended).toMatchObject({ signal: 15 });
  });

  test("counts as one call that ran code", async () => {
    await using world = new FakeWorld();
    const { platform } = await world.startedServer();
    const client = new FakeClient(platform);
    const sessionId = await client.open();
    const vm = { sessionId };
    await platform.commands.start(client.caller, { vm, command: { script: "echo a" } });
    await platform.commands.list(client.caller, vm);
    expect((await platform.sessions.usage(client.caller, sessionId)).executions).toBe(1);
  });

  test("of another key is not found", async () => {
    await using world = new FakeWorld();
    const opened = await openCommands(world);
    const { client, stranger, vm, commands } = opened;
    const { processId } = await commands.start(client.caller, { vm, command: { script: "forever" } });
    const place = { vm, processId };
    const asked = [
      commands.start(stranger.caller, { vm, command: { script: "echo" } }),
      commands.list(stranger.caller, vm),
      commands.get(stranger.caller, { ...place, waitMs: 1000 }),
      commands.writeStdin(stranger.caller, { ...place, content: pieces("x"), close: true }),
      commands.signal(stranger.caller, { ...place, signal: 9 }),
      commands.forget(stranger.caller, place),
      new Reader({ ...opened, client: stranger }, processId).end,
    ];
    for (const failure of await Promise.all(asked.map(failureOf))) {
      expect(failure).toMatchObject({ code: "vm_not_found" });
    }
    expect((await commands.get(client.caller, { ...place, waitMs: 0 })).ended).toBeUndefined();
  });
});

describe("readers of a command", () => {
  test("are independent: a slow one holds up neither another nor the command, and is told what it missed", async () => {
    await using world = new FakeWorld();
    const opened = await openCommands(world);
    const { client, vm, commands } = opened;
    const script = "echo begun; cat; output 3000000; echo end";
    const { processId } = await commands.start(client.caller, { vm, command: { script }, openStdin: true });
    const gate = Promise.withResolvers<void>();
    const slow = new Reader(opened, processId);
    await eventually(() => slow.text === "begun\n", "the slow reader has begun");
    slow.pace = () => gate.promise;
    await commands.writeStdin(client.caller, { vm, processId, content: pieces(""), close: true });
    const { outputBytes, outputStart } = await commands.get(client.caller, { vm, processId, waitMs: 1000 });
    const fast = new Reader(opened, processId, { offset: outputBytes - 4 });
    await fast.end;
    expect(fast.text).toBe("end\n");
    gate.resolve();
    await slow.end;
    expect(slow.text.endsWith("xend\n")).toBe(true);
    expect(slow.positions).toHaveLength(2);
    expect(slow.text.length).toBeLessThan(outputBytes - outputStart + 100_000);
  });

  test("leave nothing behind when they go, and the command goes on", async () => {
    await using world = new FakeWorld();
    const opened = await openCommands(world);
    const { client, vm, commands } = opened;
    const { processId } = await commands.start(client.caller, { vm, command: { script: "echo a; forever" } });
    const abort = new AbortController();
    const readers = Array.from({ length: 64 }, () => new Reader(opened, processId, { signal: abort.signal }));
    await eventually(() => readers.every(({ text }) => text === "a\n"), "all read");
    const refused = new Reader(opened, processId).end;
    expect(await failureOf(refused)).toMatchObject({ code: "limit_exceeded" });
    abort.abort(new InstaVmError("cancelled", "the client left"));
    for (const { end } of readers) expect(await failureOf(end)).toMatchObject({ code: "cancelled" });
    const next = new Reader(opened, processId, { follow: false });
    expect((await next.end).ended).toBeUndefined();
    expect(next.text).toBe("a\n");
  });

  test("that throw end with what they threw", async () => {
    await using world = new FakeWorld();
    const opened = await openCommands(world);
    const { client, vm, commands } = opened;
    const { processId } = await commands.start(client.caller, { vm, command: { script: "echo a; forever" } });
    const reader = new Reader(opened, processId);
    reader.pace = async () => Promise.reject(new InstaVmError("internal", "full"));
    expect(await failureOf(reader.end)).toMatchObject({ message: "full" });
  });

  test("are told when the VM is lost or the server stops, and hold up neither", async () => {
    const world = new FakeWorld();
    const opened = await openCommands(world);
    const { client, vm, commands } = opened;
    const start = () => commands.start(client.caller, { vm, command: { script: "forever" } });
    const lost = new Reader(opened, (await start()).processId);
    await eventually(() => lost.positions.length === 1, "it reads");
    world.room.kill(vm.vmId);
    expect(await failureOf(lost.end)).toMatchObject({ code: "vm_lost", message: expect.stringContaining(vm.vmId) });

    const again = await openCommands(world);
    const { processId } = await again.commands.start(again.client.caller, {
      vm: again.vm,
      command: { script: "forever" },
    });
    const stopped = new Reader(again, processId);
    await eventually(() => stopped.positions.length === 1, "it reads");
    await world[Symbol.asyncDispose]();
    expect(await failureOf(stopped.end)).toMatchObject({ code: "unavailable" });
    expect(world.remains()).toMatchObject({ openSessions: nothing.openSessions });
  });
});
