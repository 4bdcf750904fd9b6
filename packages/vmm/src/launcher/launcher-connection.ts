import type { MessageInitShape } from "@bufbuild/protobuf";
import { InstaVmError } from "@instavm/contract";
import type { Waiting } from "@instavm/core";
import { DeadlineExceeded, withDeadline } from "@instavm/process";
import type { Ended, HelloReply, RequestSchema, Response } from "@instavm/protocol/launcher";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { encodeRequest, responseReader } from "./frames.ts";
import { refusalError } from "./refusals.ts";

/** The one version that this client speaks. */
const protocolVersion = 1;
const helloTimeoutMs = 10_000;
const callTimeoutMs = 10_000;

type RequestBody = NonNullable<MessageInitShape<typeof RequestSchema>["request"]>;
export type Answer = Exclude<Response["response"], { readonly case: "error" } | { readonly case: undefined }>;

/** A request and what it is for, in the words of an error message. */
export interface LauncherCall {
  readonly subject: string;
  readonly request: RequestBody;
  /** Sees an answer that arrives after the caller left. */
  readonly onLateAnswer?: (answer: Answer) => void;
}

/** One greeted connection to a launcher. */
export interface LauncherConnection {
  readonly hello: HelloReply;
  /** Settles, never rejects, when the connection is over. */
  readonly closed: Promise<void>;
  /** Whether it is over: what was asked and not answered may have been done. */
  isLost(): boolean;
  /** Throws what the launcher refuses, `launcher_unreachable` when the connection ends first, or the signal's reason. */
  call(call: LauncherCall, waiting?: Waiting): Promise<Answer>;
  close(): void;
}

/** What the launcher says unasked. */
export interface LauncherEvents {
  readonly onEnded: (ended: Ended) => void;
}

export interface ConnectionOptions extends LauncherEvents {
  readonly socketPath: string;
}

/** Connects and greets. Throws `launcher_unreachable` when nobody listens, `host_setup` when it speaks another version. */
export async function openConnection(options: ConnectionOptions, waiting: Waiting = {}): Promise<LauncherConnection> {
  const socket = await dial(options.socketPath, waiting);
  const exchange = startExchange(socket, options.onEnded);
  try {
    const request = { case: "hello", value: { protocolVersion } } as const;
    const answer = await exchange.call({ subject: "launcher", request }, { timeoutMs: helloTimeoutMs, ...waiting });
    if (answer.case !== "hello") throw unexpectedAnswer("launcher", answer);
    return { ...exchange, hello: answer.value };
  } catch (error) {
    exchange.close();
    throw error instanceof InstaVmError && error.code === "engine_failed" ? otherVersion(error) : error;
  }
}

/** What to throw when an answer is not of the kind that was asked for. */
export function unexpectedAnswer(subject: string, answer: Answer): InstaVmError {
  return new InstaVmError(
    "launcher_unreachable",
    `${subject}: the launcher answered with "${answer.case}", which was not asked for`,
  );
}

function otherVersion(cause: InstaVmError): InstaVmError {
  const next = "End the launcher (its pid is in launcher.lock in the state directory); the VMs live on.";
  return new InstaVmError("host_setup", cause.message, { cause, next });
}

async function dial(socketPath: string, waiting: Waiting): Promise<Socket> {
  const socket = connect(socketPath);
  const bounds = { subject: "launcher: the connection", timeoutMs: helloTimeoutMs, ...waiting };
  try {
    await withDeadline(async (signal) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      socket.once("connect", resolve).once("error", reject);
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      await promise;
    }, bounds);
    socket.removeAllListeners("error");
    return socket;
  } catch (cause) {
    socket.destroy();
    if (waiting.signal?.aborted === true) throw cause;
    throw new InstaVmError("launcher_unreachable", `launcher: nobody answers on ${socketPath}: ${String(cause)}`, {
      cause,
    });
  }
}

interface Pending {
  readonly call: LauncherCall;
  readonly answered: PromiseWithResolvers<Answer>;
  isAwaited: boolean;
}

function startExchange(socket: Socket, onEnded: (ended: Ended) => void): Omit<LauncherConnection, "hello"> {
  const pending = new Map<bigint, Pending>();
  const closed = Promise.withResolvers<void>();
  const reader = responseReader();
  let nextId = 1n;
  let why: unknown;

  socket.on("data", (chunk: Buffer) => {
    try {
      for (const response of reader.push(chunk)) deliver(pending, response, onEnded);
    } catch (error) {
      why = error;
      socket.destroy();
    }
  });
  socket.on("error", (error) => {
    why = error;
  });
  socket.once("close", () => {
    for (const { call, answered } of pending.values()) answered.reject(connectionLost(call.subject, why));
    pending.clear();
    closed.resolve();
  });

  return {
    closed: closed.promise,
    isLost: () => socket.destroyed,
    close: () => void socket.destroy(),
    async call(call, waiting = {}) {
      waiting.signal?.throwIfAborted();
      if (socket.destroyed) throw connectionLost(call.subject, why);
      const id = nextId;
      nextId += 1n;
      const frame = encodeRequest({ id, request: call.request });
      const entry: Pending = { call, answered: Promise.withResolvers(), isAwaited: true };
      pending.set(id, entry);
      socket.write(frame);
      try {
        return await withDeadline(() => entry.answered.promise, {
          subject: call.subject,
          timeoutMs: callTimeoutMs,
          ...waiting,
        });
      } catch (error) {
        entry.isAwaited = false;
        throw error instanceof DeadlineExceeded ? noAnswer(error) : error;
      }
    },
  };
}

function deliver(pending: Map<bigint, Pending>, { id, response }: Response, onEnded: (ended: Ended) => void): void {
  if (response.case === "ended") {
    onEnded(response.value);
    return;
  }
  const entry = pending.get(id);
  pending.delete(id);
  if (entry === undefined || response.case === undefined) {
    throw new InstaVmError(
      "launcher_unreachable",
      `launcher answered request ${id}, which is not under way or of no known kind`,
    );
  }
  if (response.case === "error") entry.answered.reject(refusalError(response.value, entry.call.subject));
  else entry.answered.resolve(response);
  if (!entry.isAwaited && response.case !== "error") entry.call.onLateAnswer?.(response);
}

function connectionLost(subject: string, cause: unknown): InstaVmError {
  return new InstaVmError(
    "launcher_unreachable",
    `${subject}: the connection to the launcher ended before it answered`,
    { cause },
  );
}

/** What to throw when the launcher took too long. */
export function noAnswer(cause: DeadlineExceeded): InstaVmError {
  return new InstaVmError(
    "launcher_unreachable",
    `${cause.subject}: the launcher did not answer within ${cause.timeoutMs} ms`,
    { cause },
  );
}
