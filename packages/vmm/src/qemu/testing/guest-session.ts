import { randomBytes } from "node:crypto";
import { createConnection } from "node:net";
import type { Socket } from "node:net";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { InstaVmError } from "@instavm/contract";
import type { RunningMachine } from "@instavm/core";
import { sleep, startDeadline, untilAborted } from "@instavm/process";
import { OpenSchema, OutcomeSchema, OutputSchema } from "@instavm/protocol/guest";

const frameType = { open: 1, message: 2, end: 3, detach: 8, detached: 9 } as const;
const headerBytes = 12;
const attemptMs = 1_000;
const totalMs = 90_000;

/**
 * Runs a Bash script in a guest and returns what it printed: just enough of the guest protocol for the tests of the
 * engine, which must not lean on the package that serves it in earnest.
 */
export async function runScript(machine: RunningMachine, script: string): Promise<string> {
  return await withSession(machine, async (session) => {
    const call = { case: "exec", value: { script } } as const;
    const open = toBinary(OpenSchema, create(OpenSchema, { creditBytes: 65_536, call }));
    session.send(frameType.open, 1, Buffer.from(open));
    let output = "";
    for (;;) {
      const frame = await session.receive();
      if (frame.type === frameType.message) output += outputText(frame.payload);
      if (frame.type !== frameType.end) continue;
      const { outcome } = fromBinary(OutcomeSchema, frame.payload);
      if (outcome.case === "execEnded" && outcome.value.exitCode === 0) return output.trimEnd();
      throw new InstaVmError(
        "guest_failure",
        `the script ${script} ended with ${JSON.stringify(outcome.value)}: ${output}`,
      );
    }
  });
}

/** Resolves when the agent answers a greeting and has taken leave again. */
export async function greet(machine: RunningMachine): Promise<void> {
  await withSession(machine, async () => {});
}

/** Starts a script after which no answer comes. */
export async function runLastScript(machine: RunningMachine, script: string): Promise<void> {
  const end = await Promise.race([runScript(machine, script).catch((error: unknown) => error), machine.ended]);
  void end;
}

function outputText(payload: Buffer): string {
  const { output } = fromBinary(OutputSchema, payload);
  return output.case === "stdout" || output.case === "stderr" ? Buffer.from(output.value).toString("utf8") : "";
}

interface Frame {
  readonly type: number;
  readonly payload: Buffer;
}

interface Session {
  send(type: number, stream: number, payload?: Buffer): void;
  receive(): Promise<Frame>;
}

async function withSession<T>(machine: RunningMachine, use: (session: Session) => Promise<T>): Promise<T> {
  using deadline = startDeadline({ subject: `the guest of VM ${machine.vmId}`, timeoutMs: totalMs });
  for (;;) {
    const { socket, reader } = await openStream(machine.agentSocketPath, deadline.signal);
    try {
      const session = await handshake(socket, reader);
      if (session === undefined) continue;
      const result = await untilAborted(() => use(session), deadline.signal);
      await takeLeave(session);
      return result;
    } finally {
      socket.destroy();
      await sleep(60);
    }
  }
}

async function takeLeave(session: Session): Promise<void> {
  session.send(frameType.detach, 0);
  while ((await session.receive()).type !== frameType.detached);
}

/** undefined = no welcome in time: what was sent went to an earlier connection. */
async function handshake(socket: Socket, reader: Reader): Promise<Session | undefined> {
  const nonce = randomBytes(16);
  socket.write(Buffer.concat([Buffer.from("IVM1H"), nonce, Buffer.from([1, 0, 0, 0])]));
  const welcome = Buffer.concat([Buffer.from("IVM1W"), nonce, Buffer.from([1, 0, 0, 0])]);
  const attempt = setTimeout(() => socket.destroy(), attemptMs);
  try {
    await reader.skipPast(welcome);
  } catch {
    return undefined;
  } finally {
    clearTimeout(attempt);
  }
  return {
    send(type, stream, payload = Buffer.alloc(0)) {
      const header = Buffer.alloc(headerBytes);
      header.writeUInt32LE(payload.length, 0);
      header.writeUInt32LE(stream, 4);
      header.writeUInt8(type, 8);
      header.writeUInt8(type === frameType.open ? 1 : 0, 9);
      socket.write(Buffer.concat([header, payload]));
    },
    async receive() {
      const header = await reader.take(headerBytes);
      return { type: header.readUInt8(8), payload: await reader.take(header.readUInt32LE(0)) };
    },
  };
}

interface Reader {
  take(length: number): Promise<Buffer>;
  skipPast(mark: Buffer): Promise<void>;
}

async function openStream(
  path: string,
  signal: AbortSignal,
): Promise<{ readonly socket: Socket; readonly reader: Reader }> {
  for (;;) {
    signal.throwIfAborted();
    const socket = createConnection(path);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    socket.once("connect", () => resolve(true));
    socket.once("error", () => resolve(false));
    if (await promise) return { socket, reader: readerOf(socket) };
    await sleep(5, signal);
  }
}

function readerOf(socket: Socket): Reader {
  socket.on("error", () => {});
  const chunks: AsyncIterator<Buffer> = socket.iterator({ destroyOnReturn: false });
  let held: Buffer = Buffer.alloc(0);
  const more = async (): Promise<void> => {
    const next = await chunks.next();
    if (next.done === true) throw new InstaVmError("guest_unreachable", "the guest's stream ended");
    held = Buffer.concat([held, next.value]);
  };
  return {
    async take(length) {
      while (held.length < length) await more();
      const taken = held.subarray(0, length);
      held = held.subarray(length);
      return taken;
    },
    async skipPast(mark) {
      while (!held.includes(mark)) await more();
      held = held.subarray(held.indexOf(mark) + mark.length);
    },
  };
}
