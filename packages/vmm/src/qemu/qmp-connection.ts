import { createConnection } from "node:net";
import type { Socket } from "node:net";
import { InstaVmError } from "@instavm/contract";
import type { Waiting } from "@instavm/core";
import { DeadlineExceeded, sleep, startDeadline, untilAborted } from "@instavm/process";
import { z } from "zod";
import { readLines } from "./qmp-lines.ts";

/** A line of QEMU's machine protocol is at most so long here; ours are below 1 KiB. */
const lineLimitBytes = 256 * 1024;
/** QEMU answers within milliseconds; a host that swaps may take long. */
const defaultTimeoutMs = 10_000;
/** The socket appears some 20 ms after QEMU was started. */
const retryMs = 5;

const greetingSchema = z.object({ QMP: z.object({ version: z.unknown() }) });
const replySchema = z.union([
  z.object({ id: z.int(), error: z.object({ class: z.string(), desc: z.string() }) }),
  z.object({ id: z.int(), return: z.unknown() }),
]);
const eventSchema = z.object({ event: z.string() });

/** One session with the monitor of one QEMU. Disposing closes it; the VM goes on. */
export interface QmpConnection extends Disposable {
  /**
   * Runs a command and returns what it returned. Throws `engine_failed` when QEMU refused it, broke off or did not
   * answer in time (10 s); after the latter two the connection is closed.
   */
  execute(command: string, args?: Readonly<Record<string, unknown>>, waiting?: Waiting): Promise<unknown>;
}

/** Connects; retries while the socket is not there yet. Throws `engine_failed` at the deadline (10 s). */
export async function connectQmp(socketPath: string, waiting: Waiting = {}): Promise<QmpConnection> {
  const timeoutMs = waiting.timeoutMs ?? defaultTimeoutMs;
  using deadline = startDeadline({ subject: "QEMU's monitor", timeoutMs, signal: waiting.signal });
  const { signal } = deadline;
  try {
    const socket = await openSocket(socketPath, signal);
    const connection = converse(socket);
    try {
      await untilAborted(() => connection.greeted, signal);
      await connection.execute("qmp_capabilities", {}, { signal });
      return connection;
    } catch (error) {
      connection[Symbol.dispose]();
      throw error;
    }
  } catch (error) {
    throw asEngineFailure(error, `QEMU's monitor at ${socketPath}`);
  }
}

async function openSocket(socketPath: string, signal: AbortSignal): Promise<Socket> {
  for (;;) {
    signal.throwIfAborted();
    const socket = await tryToOpen(socketPath);
    if (socket !== undefined) return socket;
    await sleep(retryMs, signal);
  }
}

/** undefined = nobody listens there yet. */
function tryToOpen(socketPath: string): Promise<Socket | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket | undefined>();
  const socket = createConnection(socketPath);
  socket.once("connect", () => {
    socket.removeAllListeners("error");
    resolve(socket);
  });
  socket.once("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ECONNREFUSED") resolve(undefined);
    else reject(error);
  });
  return promise;
}

interface Pending {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: InstaVmError) => void;
}

/** The conversation on an open socket. What comes from it is checked: a guest may have taken over its QEMU. */
function converse(socket: Socket): QmpConnection & { readonly greeted: Promise<void> } {
  const greeted = Promise.withResolvers<void>();
  greeted.promise.catch(() => {}); // the waiter may have left
  const pending = new Map<number, Pending>();
  const lines = readLines(lineLimitBytes);
  let lastId = 0;
  let broken: InstaVmError | undefined;

  const breakOff = (why: string): void => {
    if (broken !== undefined) return;
    const error = new InstaVmError("engine_failed", `QEMU's monitor: ${why}.`);
    broken = error;
    greeted.reject(error);
    for (const call of pending.values()) call.reject(error);
    pending.clear();
    socket.destroy();
  };
  const settle = (line: string): void => {
    const reply = parseReply(line);
    if (reply === undefined) return breakOff("it sent what is no message of its protocol");
    if (reply === "greeting") return greeted.resolve();
    if (reply === "event") return;
    const call = pending.get(reply.id);
    pending.delete(reply.id);
    if ("error" in reply) call?.reject(refusal(call.command, reply.error.desc));
    else call?.resolve(reply.return);
  };

  socket.on("data", (chunk: Buffer) => {
    try {
      for (const line of lines.add(chunk)) settle(line);
    } catch (error) {
      breakOff(error instanceof Error ? error.message : "it could not be read");
    }
  });
  socket.on("error", (error) => breakOff(error.message));
  socket.on("close", () => breakOff("it closed the connection"));

  return {
    greeted: greeted.promise,
    async execute(command, args = {}, waiting = {}) {
      if (broken !== undefined) throw broken;
      lastId += 1;
      const id = lastId;
      const answer = Promise.withResolvers<unknown>();
      pending.set(id, { command, resolve: answer.resolve, reject: answer.reject });
      answer.promise.catch(() => {}); // when the deadline comes first, nobody waits any more
      socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
      const timeoutMs = waiting.timeoutMs ?? defaultTimeoutMs;
      using deadline = startDeadline({ subject: `QEMU's answer to ${command}`, timeoutMs, signal: waiting.signal });
      try {
        return await untilAborted(() => answer.promise, deadline.signal);
      } catch (error) {
        // An answer that comes later would find no caller: this connection is not used again.
        if (pending.delete(id)) breakOff(`a call of ${command} was given up`);
        throw asEngineFailure(error, "QEMU's monitor");
      }
    },
    [Symbol.dispose]: () => breakOff("the connection was closed by its user"),
  };
}

function parseReply(line: string): z.infer<typeof replySchema> | "greeting" | "event" | undefined {
  const message = parseJson(line);
  const reply = replySchema.safeParse(message);
  if (reply.success) return reply.data;
  if (eventSchema.safeParse(message).success) return "event";
  if (greetingSchema.safeParse(message).success) return "greeting";
  return undefined;
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function refusal(command: string, said: string): InstaVmError {
  return new InstaVmError("engine_failed", `QEMU refused ${command}: ${said.slice(0, 300)}`);
}

function asEngineFailure(error: unknown, subject: string): unknown {
  if (error instanceof DeadlineExceeded)
    return new InstaVmError("engine_failed", `${subject}: ${error.message}.`, { cause: error });
  if (error instanceof Error && "syscall" in error) {
    return new InstaVmError("engine_failed", `${subject}: ${error.message}.`, { cause: error });
  }
  return error;
}
