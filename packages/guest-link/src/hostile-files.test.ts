import type { MessageInitShape } from "@bufbuild/protobuf";
import type { OutcomeSchema, OutputSchema } from "@instavm/protocol/guest";
import { FileEventKind, FileType } from "@instavm/protocol/guest";
import { describe, expect, it } from "vitest";
import { GuestLink } from "./agent-link.ts";
import type { LinkedSession } from "./agent-session.ts";
import { frameTypes } from "./frame.ts";
import { ascii } from "./golden/bytes.ts";
import { faultPeer } from "./testing/fault-peer.ts";

type Said = NonNullable<MessageInitShape<typeof OutputSchema>["output"]>;
type Ended = NonNullable<MessageInitShape<typeof OutcomeSchema>["outcome"]>;
interface EntryLies {
  readonly type?: FileType;
  readonly mode?: number;
  readonly size?: bigint;
  readonly linkTarget?: Uint8Array;
}

const link = new GuestLink({ connectTimeoutMs: 20_000 });
const entry = (name: Uint8Array, more: EntryLies = {}): Said => ({
  case: "entry",
  value: { name, type: FileType.FILE, ...more },
});
const data = (bytes: number): Said => ({ case: "data", value: new Uint8Array(bytes) });
const position = (offset: bigint, droppedBytes = 0n): Said => ({ case: "position", value: { offset, droppedBytes } });

/** A session with an agent that answers its one call with these messages. */
async function against(
  lies: { readonly says?: readonly Said[]; readonly ends?: Ended },
  call: (session: LinkedSession) => Promise<unknown>,
): Promise<unknown> {
  await using peer = await faultPeer(async (connection) => {
    await connection.greet();
    const { streamId } = await connection.opened();
    for (const output of lies.says ?? []) connection.output(streamId, output);
    if (lies.ends !== undefined) connection.end(streamId, lies.ends);
    await connection.closed();
  });
  const session = await link.connect(peer.socketPath);
  // The agent stays until the call has ended.
  return await call(session);
}

const drain = async (output: AsyncIterable<unknown>): Promise<number> => {
  let events = 0;
  for await (const _ of output) events += 1;
  return events;
};

const broken = { code: "guest_protocol" };
const listed: Ended = { case: "directoryListed", value: { hasMore: true } };

describe("an agent that lies about files", () => {
  it.each([
    ["a NUL", entry(Uint8Array.of(0x61, 0, 0x62))],
    ["a slash", entry(ascii("a/b"))],
    ["nothing in it", entry(new Uint8Array(0))],
    ["one dot", entry(ascii("."))],
    ["two dots", entry(ascii(".."))],
    ["more bytes than a name has", entry(new Uint8Array(256).fill(0x61))],
    ["no type", entry(ascii("a"), { type: FileType.UNSPECIFIED })],
    ["a mode that is none", entry(ascii("a"), { mode: 0o100_000 })],
    ["a size beyond 2^53", entry(ascii("a"), { size: 1n << 60n })],
    ["a link with a NUL", entry(ascii("a"), { type: FileType.SYMLINK, linkTarget: Uint8Array.of(0x61, 0) })],
    [
      "a link that is too long",
      entry(ascii("a"), { type: FileType.SYMLINK, linkTarget: new Uint8Array(4096).fill(1) }),
    ],
  ])("is left when a name has %s", async (_, said) => {
    await expect(against({ says: [said], ends: listed }, (session) => session.files.list("/"))).rejects.toMatchObject(
      broken,
    );
  });

  it("is left when its pages go back, repeat, or hold more than was asked for", async () => {
    const names = (...each: string[]): Said[] => each.map((name) => entry(ascii(name)));
    for (const says of [names("b", "a"), names("a", "a"), names("c", "d", "e")]) {
      const call = (session: LinkedSession): Promise<unknown> => session.files.list("/", { limit: 2 });
      await expect(against({ says, ends: listed }, call)).rejects.toMatchObject(broken);
    }
    const after = (session: LinkedSession): Promise<unknown> => session.files.list("/", { after: "m" });
    await expect(against({ says: names("b"), ends: listed }, after)).rejects.toMatchObject(broken);
  });

  it("cannot promise more and give nothing for ever", async () => {
    const page = await against({ ends: listed }, (session) => session.files.list("/"));
    expect(page).toEqual({ entries: [], hasMore: false });
  });

  it("cannot have more entries wait here than the window holds", async () => {
    const says = Array.from({ length: 400 }, (_, number) =>
      entry(ascii(String(number).padStart(250, "0")), {
        type: FileType.SYMLINK,
        linkTarget: new Uint8Array(4000).fill(1),
      }),
    );
    await expect(against({ says }, (session) => session.files.list("/"))).rejects.toMatchObject(broken);
  });

  it("is left when content comes before its file, is more than was asked for, or not what was announced", async () => {
    const read = async (session: LinkedSession): Promise<unknown> =>
      drain((await session.files.read("a", { length: 10 })).content);
    const ends: Ended = { case: "fileRead", value: { bytes: 5n } };
    for (const says of [
      [data(5)],
      [entry(ascii("a")), data(11)],
      [entry(ascii("a")), data(4)],
      [entry(ascii("a")), entry(ascii("a"))],
    ]) {
      await expect(against({ says, ends }, read)).rejects.toMatchObject(broken);
    }
  });

  it("cuts what could steer a terminal from the names of accounts", async () => {
    const said = { name: ascii("a"), type: FileType.FILE, user: `\u{1b}[31m${"u".repeat(1000)}` };
    const stat = await against({ ends: { case: "entry", value: said } }, (session) => session.files.stat("a"));
    expect(stat).toMatchObject({ user: expect.stringMatching(/^\u{fffd}\[31mu{1,251}$/u), group: undefined });
  });

  it("is left when an event is none, or its path holds a NUL", async () => {
    const watch = (session: LinkedSession): Promise<unknown> => drain(session.files.watch("/"));
    const events: Said[] = [
      { case: "fileEvent", value: { kind: FileEventKind.UNSPECIFIED } },
      { case: "fileEvent", value: { kind: FileEventKind.CREATED, path: Uint8Array.of(0x61, 0) } },
      {
        case: "fileEvent",
        value: { kind: FileEventKind.MOVED, path: ascii("a"), fromPath: new Uint8Array(5000).fill(1) },
      },
      { case: "stdout", value: ascii("x") },
    ];
    for (const said of events) await expect(against({ says: [said] }, watch)).rejects.toMatchObject(broken);
  });
});

describe("an agent that lies about processes", () => {
  const attach = (session: LinkedSession): Promise<unknown> => drain(session.processes.attach(1));
  const out: Said = { case: "stdout", value: ascii("12345") };

  it("is left when output has no position, or positions do not fit the output", async () => {
    for (const says of [
      [out],
      [position(0n), out, position(4n)],
      [position(0n), out, position(10n, 4n)],
      [position(3n, 4n)],
      [position(1n << 60n)],
      [position(0n), data(1)],
    ]) {
      await expect(against({ says }, attach)).rejects.toMatchObject(broken);
    }
  });

  it("is left when a process is none", async () => {
    const wait = (session: LinkedSession): Promise<unknown> => session.processes.wait(1);
    const processes: Extract<Ended, { case: "process" }>["value"][] = [
      {},
      { processId: 1, outputBytes: 1n, outputStart: 2n },
      { processId: 1, ended: { exitCode: 256 } },
      { processId: 1, ended: { signal: 65 } },
      { processId: 1, startedUnixMs: 1n << 60n },
    ];
    for (const value of processes) {
      await expect(against({ ends: { case: "process", value } }, wait)).rejects.toMatchObject(broken);
    }
    await expect(against({ ends: { case: "pong", value: {} } }, wait)).rejects.toMatchObject(broken);
  });

  it("is cut in what it says for people", async () => {
    const value = { processId: 1, tag: "t".repeat(5000), command: `\u{1b}${"c".repeat(5000)}` };
    const list = await against({ ends: { case: "processes", value: { processes: [value] } } }, (session) =>
      session.processes.list(),
    );
    expect(list).toMatchObject([{ tag: "t".repeat(256), command: `\u{fffd}${"c".repeat(255)}` }]);
  });
});

describe("credit", () => {
  it("is given for output that was read, and only then", async () => {
    await using peer = await faultPeer(async (connection) => {
      await connection.greet();
      const { streamId, open } = await connection.opened();
      connection.output(streamId, position(0n));
      let given = open.creditBytes;
      for (let sent = 0; sent < 2_000_000;) {
        if (given >= 70_000) {
          connection.output(streamId, { case: "stdout", value: new Uint8Array(65_000) });
          given -= 65_004;
          sent += 65_000;
          continue;
        }
        const frame = await connection.frame();
        if (frame.type === frameTypes.credit) given += new DataView(frame.payload.slice().buffer).getUint32(0, true);
      }
      connection.end(streamId, { case: "process", value: { processId: 1, outputBytes: 2_015_000n } });
      await connection.letGo();
    });
    await using session = await link.connect(peer.socketPath);
    const reader = session.processes.attach(1);
    expect(await drain(reader)).toBeGreaterThan(30);
    expect((await reader.state).outputBytes).toBe(2_015_000);
  });
});
