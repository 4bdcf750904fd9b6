import { randomBytes } from "node:crypto";
import { connect as connectSocket, type Socket } from "node:net";
import { InstaVmError } from "@instavm/contract";
import type { ActivateRequest, AgentLink, Waiting } from "@instavm/core";
import { sleep, startDeadline, untilAborted } from "@instavm/process";
import { LinkedSession } from "./agent-session.ts";
import { Channel } from "./channel.ts";
import { FrameSession } from "./frame-session.ts";
import { guestUnreachableError } from "./link-errors.ts";

/** Times in ms. */
export interface AgentLinkOptions {
  /** For `connect` without a bound of its own. */
  readonly connectTimeoutMs?: number;
  /** Of the first handshake; each next one gets twice as long, up to eight times this. */
  readonly attemptTimeoutMs?: number;
  /** Silence of the agent during a call after which it is asked whether it lives; as long again ends the session. */
  readonly keepaliveMs?: number;
}

/** Options of one `connect`. */
export interface ConnectOptions extends Waiting {
  /** Sent right behind the hello, which saves a round trip; on a failed attempt it is sent again. */
  readonly activate?: ActivateRequest;
}

const defaults = { connectTimeoutMs: 30_000, attemptTimeoutMs: 2000, keepaliveMs: 15_000 };

/** Bytes of an earlier connection must have left the guest's port before the next one. */
const pauseAfterFailureMs = 50;
const longestAttemptFactor = 8;
/** A guest that took so long to take its time is told it again. */
const lateClockMs = 20;
/** While the socket does not exist yet: first every ms, later every 10 ms. */
const quickPolls = 100;
const quickPollMs = 1;
const slowPollMs = 10;
const notThereYet: ReadonlySet<string> = new Set(["ENOENT", "ECONNREFUSED", "EAGAIN"]);
const neverThere: ReadonlySet<string> = new Set(["EACCES", "EPERM", "ENOTSOCK", "EINVAL", "ENAMETOOLONG", "ENOTDIR"]);

/** The guest protocol over Unix sockets. Importing or creating it does nothing; each session is one connection. */
export class GuestLink implements AgentLink {
  readonly #options: Required<AgentLinkOptions>;

  constructor(options: AgentLinkOptions = {}) {
    this.#options = { ...defaults, ...options };
  }

  /**
   * Resolves when the agent answered the hello, and `activate` where asked. Throws `guest_unreachable` at the
   * deadline, `guest_protocol` when the agent speaks another version, what `activate` failed with, or the
   * signal's reason.
   */
  async connect(socketPath: string, options: ConnectOptions = {}): Promise<LinkedSession> {
    const timeoutMs = options.timeoutMs ?? this.#options.connectTimeoutMs;
    using deadline = startDeadline({ subject: `the agent at ${socketPath}`, timeoutMs, signal: options.signal });
    const startedAtMs = performance.now();
    const seen: Seen = { last: undefined };
    try {
      for (let attempt = 0; ; attempt += 1) {
        const socket = await connectedSocket(socketPath, deadline.signal, seen);
        try {
          const bounds = { signal: deadline.signal, timeoutMs: this.#attemptTimeoutMs(attempt) };
          return await this.#greet(socket, bounds, { activate: options.activate, startedAtMs });
        } catch (error) {
          socket.destroy();
          if (deadline.signal.aborted || !isWorthAnotherTry(error)) throw error;
          seen.last = error;
        }
        await sleep(pauseAfterFailureMs, deadline.signal);
      }
    } catch (error) {
      if (options.signal?.aborted === true || !deadline.signal.aborted) throw error;
      const last = seen.last ?? error;
      const detail = last instanceof Error ? last.message : String(last);
      throw guestUnreachableError(`no session at ${socketPath} within ${timeoutMs} ms; last: ${detail}`, last);
    }
  }

  #attemptTimeoutMs(attempt: number): number {
    return this.#options.attemptTimeoutMs * Math.min(2 ** attempt, longestAttemptFactor);
  }

  /** One attempt on a connected socket. */
  async #greet(
    socket: Socket,
    bounds: { readonly signal: AbortSignal; readonly timeoutMs: number },
    first: { readonly activate: ActivateRequest | undefined; readonly startedAtMs: number },
  ): Promise<LinkedSession> {
    const frames = this.#framesOver(socket);
    const session = new LinkedSession(frames);
    using attempt = startDeadline({ subject: "the handshake", ...bounds });
    const { activate, startedAtMs } = first;
    const sentAtMs = performance.now();
    const activated =
      activate === undefined
        ? Promise.resolve()
        : session.activate(activate, { signal: bounds.signal }, sentAtMs - startedAtMs);
    activated.catch(() => {});
    try {
      await untilAborted(() => frames.welcomed, attempt.signal);
      await activated;
      // The time waited with the rest until the guest came up.
      if (activate !== undefined && performance.now() - sentAtMs > lateClockMs) {
        await session.setClock(activate.unixTimeMs + performance.now() - startedAtMs, { signal: bounds.signal });
      }
      return session;
    } catch (error) {
      const reason = error instanceof Error ? error : guestUnreachableError("the attempt was given up", error);
      frames.breakOff(reason);
      throw error;
    }
  }

  #framesOver(socket: Socket): FrameSession {
    const channel = new Channel(socket, {
      data: (chunk) => frames.receive(chunk),
      closed: (error) => frames.connectionEnded(error),
    });
    const frames: FrameSession = new FrameSession(channel, {
      nonce: randomBytes(16),
      keepaliveMs: this.#options.keepaliveMs,
    });
    return frames;
  }
}

/** Why the last attempt failed. */
interface Seen {
  last: unknown;
}

/** An agent that answered with a failure, or in another version, will do so again. */
function isWorthAnotherTry(error: unknown): boolean {
  if (!(error instanceof InstaVmError)) return true;
  return error.code === "vm_lost" || error.code === "guest_unreachable";
}

/** Polls until somebody listens on the path. */
async function connectedSocket(path: string, signal: AbortSignal, seen: Seen): Promise<Socket> {
  for (let polls = 0; ; polls += 1) {
    const outcome = await tryConnect(path, signal);
    if (!(outcome instanceof Error)) return outcome;
    seen.last = outcome;
    const code = "code" in outcome && typeof outcome.code === "string" ? outcome.code : "";
    if (neverThere.has(code)) {
      throw new InstaVmError(
        "guest_unreachable",
        `The guest agent's socket ${path} cannot be used: ${outcome.message}.`,
        {
          cause: outcome,
        },
      );
    }
    if (!notThereYet.has(code)) await sleep(pauseAfterFailureMs, signal);
    else await sleep(polls < quickPolls ? quickPollMs : slowPollMs, signal);
  }
}

async function tryConnect(path: string, signal: AbortSignal): Promise<Socket | Error> {
  signal.throwIfAborted();
  const socket = connectSocket({ path });
  const { promise, resolve } = Promise.withResolvers<Socket | Error>();
  const onConnect = (): void => resolve(socket);
  const onError = (error: Error): void => resolve(error);
  const onAbort = (): void => {
    socket.destroy();
    resolve(signal.reason instanceof Error ? signal.reason : guestUnreachableError("the attempt was given up"));
  };
  socket.once("connect", onConnect);
  socket.once("error", onError);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    const outcome = await promise;
    signal.throwIfAborted();
    return outcome;
  } finally {
    signal.removeEventListener("abort", onAbort);
    socket.removeListener("error", onError);
  }
}
