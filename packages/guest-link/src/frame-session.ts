import { InstaVmError } from "@instavm/contract";
import type { Channel } from "./channel.ts";
import { encodeHeader, type Frame, frameTypes, limits } from "./frame.ts";
import { FrameDecoder } from "./frame-decoder.ts";
import { GuestStream, type StreamHost, type StreamPlan } from "./guest-stream.ts";
import { encodeHello, WelcomeScanner } from "./handshake.ts";
import { cancelledError, connectionLostError, guestProtocolError, guestUnreachableError } from "./link-errors.ts";

/** PINGs that the agent may send while it leaves our answers unread. */
const unreadPongs = 1000;
const detachTimeoutMs = 1000;
const greatestStreamId = 0xff_ff_ff_ff;

/** How a session greets and watches. */
export interface FrameSessionOptions {
  /** 16 random bytes. */
  readonly nonce: Uint8Array;
  /** Silence after which a PING is sent while a call is open; as long again and the session ends. */
  readonly keepaliveMs: number;
}

/** The frames of one connection: from the hello to the end, many calls at once. */
export class FrameSession implements StreamHost {
  readonly #channel: Channel;
  readonly #keepaliveMs: number;
  readonly #decoder = new FrameDecoder("host");
  readonly #streams = new Map<number, GuestStream>();
  readonly #welcomed = Promise.withResolvers<void>();
  readonly #closed = Promise.withResolvers<Error | undefined>();
  /** How leaving went: undefined when the agent answered. */
  readonly #left = Promise.withResolvers<Error | undefined>();
  #scanner: WelcomeScanner | undefined;
  #state: "open" | "detaching" | "closed" = "open";
  #endedBy: Error | undefined;
  #lastStreamId = -1;
  #pongsUnsent = 0;
  #heardAtMs = 0;
  #pingSent = false;
  #keepalive: NodeJS.Timeout | undefined;
  #judgement: NodeJS.Immediate | undefined;
  #detaching: Promise<void> | undefined;

  /** Sends the hello; calls may follow at once. The owner of `channel` passes on what it reads with `receive` and `connectionEnded`. */
  constructor(channel: Channel, options: FrameSessionOptions) {
    this.#channel = channel;
    this.#keepaliveMs = options.keepaliveMs;
    this.#scanner = new WelcomeScanner(options.nonce);
    this.#welcomed.promise.catch(() => {});
    channel.write(encodeHello(options.nonce));
  }

  /** Resolves when the agent answered the hello; rejects when the session ended before. */
  get welcomed(): Promise<void> {
    return this.#welcomed.promise;
  }

  /** Settles, never rejects: undefined after a `detach` that the agent answered, else why the session broke. */
  get closed(): Promise<Error | undefined> {
    return this.#closed.promise;
  }

  /** Opens a stream. Throws when the session has ended, or `capacity` when too many calls run. */
  open(plan: StreamPlan, frame: { readonly flags: number; readonly payload: Uint8Array }): GuestStream {
    if (this.#state !== "open") {
      throw this.#endedBy ?? cancelledError(plan.subject, "the session with the guest agent has been left");
    }
    if (this.#streams.size >= limits.openStreams) {
      throw new InstaVmError("capacity", `${limits.openStreams} calls to this VM are running, and no more may.`, {
        next: "Wait until one of them has ended.",
      });
    }
    if (frame.payload.length > limits.payloadBytes) {
      throw new InstaVmError(
        "too_large",
        `${plan.subject}: the request has ${frame.payload.length} bytes; at most ${limits.payloadBytes} are allowed.`,
        { next: "Shorten its arguments and environment." },
      );
    }
    if (this.#lastStreamId + 2 > greatestStreamId) {
      throw new InstaVmError("unavailable", "This session with the guest agent has used all its stream ids.", {
        next: "Leave it and connect again.",
      });
    }
    this.#lastStreamId += 2;
    const stream = new GuestStream(this.#lastStreamId, this, plan);
    this.#streams.set(stream.id, stream);
    this.sendFrame(stream.id, frameTypes.open, frame);
    this.#watch();
    return stream;
  }

  sendFrame(streamId: number, type: number, frame: { readonly flags?: number; readonly payload?: Uint8Array }): void {
    const payload = frame.payload ?? new Uint8Array(0);
    this.#channel.write(encodeHeader({ length: payload.length, streamId, type, flags: frame.flags ?? 0 }), payload);
  }

  async ready(): Promise<void> {
    await this.#channel.ready();
  }

  /** Bytes from the agent. */
  receive(chunk: Uint8Array): void {
    if (this.#state === "closed") return;
    this.#heardAtMs = performance.now();
    this.#pingSent = false;
    try {
      const frames = this.#scanner === undefined ? chunk : this.#greet(this.#scanner, chunk);
      if (frames !== undefined) this.#decoder.push(frames, (frame) => this.#take(frame));
    } catch (error) {
      this.breakOff(error instanceof Error ? error : guestProtocolError("unreadable bytes", error));
    }
  }

  /** The connection has closed. */
  connectionEnded(error: Error | undefined): void {
    const lost = connectionLostError(error?.message ?? "the other side closed it", error);
    if (this.#state === "detaching") this.#left.resolve(lost);
    else this.breakOff(lost);
  }

  /** Ends the session at once; `error` is what every running call gets. */
  breakOff(error: Error): void {
    this.#finish(error, error);
    this.#channel.destroy();
  }

  /** Leaves in order. Never rejects. */
  async detach(timeoutMs = detachTimeoutMs): Promise<void> {
    if (this.#state === "open") this.#detaching = this.#leave(timeoutMs);
    await this.#detaching;
  }

  async #leave(timeoutMs: number): Promise<void> {
    this.#state = "detaching";
    this.#failStreams(cancelledError("The call", "the session with the guest agent was left"));
    this.sendFrame(0, frameTypes.detach, {});
    const silent = (): void =>
      this.#left.resolve(guestUnreachableError(`it did not take leave within ${timeoutMs} ms`));
    const timer = setTimeout(silent, timeoutMs);
    timer.unref();
    const trouble = await this.#left.promise;
    clearTimeout(timer);
    // Who leaves is told whether the agent is free for its next host; calls after it are cancelled either way.
    this.#closed.resolve(trouble);
    this.#finish(undefined, undefined);
    this.#channel.end();
  }

  #greet(scanner: WelcomeScanner, chunk: Uint8Array): Uint8Array | undefined {
    const rest = scanner.push(chunk);
    if (rest === undefined) return undefined;
    this.#scanner = undefined;
    this.#welcomed.resolve();
    return rest;
  }

  /** false: nothing that follows is ours. */
  #take(frame: Frame): boolean {
    switch (frame.type) {
      case frameTypes.message:
        this.#streamOf(frame)?.receiveMessage(frame.payload);
        break;
      case frameTypes.end:
        this.#takeEnd(frame);
        break;
      case frameTypes.credit:
        this.#streamOf(frame)?.receiveCredit(frame.payload);
        break;
      case frameTypes.ping:
        this.#answerPing(frame.payload);
        break;
      case frameTypes.detached:
        if (this.#state !== "detaching") throw guestProtocolError("DETACHED that nobody asked for");
        this.#left.resolve(undefined);
        return false;
      default:
        // PONG: that bytes came is all that it says.
        break;
    }
    return true;
  }

  /** undefined when the stream has ended. */
  #streamOf(frame: Frame): GuestStream | undefined {
    if (frame.streamId > this.#lastStreamId) {
      throw guestProtocolError(`a frame for stream ${frame.streamId}, which was never opened`);
    }
    return this.#streams.get(frame.streamId);
  }

  #takeEnd(frame: Frame): void {
    const stream = this.#streamOf(frame);
    if (stream === undefined) {
      if (this.#state === "detaching") return;
      throw guestProtocolError(`a second END for stream ${frame.streamId}`);
    }
    stream.receiveEnd(frame.payload);
    this.#streams.delete(frame.streamId);
    if (this.#streams.size === 0) this.#stopWatching();
  }

  #answerPing(payload: Uint8Array): void {
    this.#pongsUnsent = this.#channel.backlogBytes === 0 ? 0 : this.#pongsUnsent + 1;
    if (this.#pongsUnsent > unreadPongs) throw guestProtocolError("a flood of PINGs whose answers it does not read");
    this.sendFrame(0, frameTypes.pong, { payload: payload.slice() });
  }

  #watch(): void {
    if (this.#keepalive !== undefined) return;
    this.#heardAtMs = performance.now();
    this.#pingSent = false;
    this.#lookAgainIn(this.#keepaliveMs);
  }

  #stopWatching(): void {
    clearTimeout(this.#keepalive);
    clearImmediate(this.#judgement);
    this.#keepalive = undefined;
  }

  /** A loop that stood still looks at what has arrived meanwhile before it judges: hence the immediate. */
  #lookAgainIn(delayMs: number): void {
    this.#keepalive = setTimeout(() => {
      this.#judgement = setImmediate(() => this.#judgeSilence());
    }, delayMs);
    this.#keepalive.unref();
  }

  #judgeSilence(): void {
    const silentMs = performance.now() - this.#heardAtMs;
    if (!this.#pingSent && silentMs < this.#keepaliveMs) {
      this.#lookAgainIn(this.#keepaliveMs - silentMs);
    } else if (this.#pingSent) {
      this.breakOff(guestUnreachableError(`no byte came for ${Math.round(silentMs)} ms, not even after a PING`));
    } else {
      this.#pingSent = true;
      this.sendFrame(0, frameTypes.ping, {});
      this.#lookAgainIn(this.#keepaliveMs);
    }
  }

  #failStreams(error: Error): void {
    this.#stopWatching();
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    for (const stream of streams) stream.fail(error);
  }

  #finish(endedBy: Error | undefined, error: Error | undefined): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#endedBy = endedBy;
    const reason = error ?? cancelledError("The call", "the session with the guest agent was left");
    this.#failStreams(reason);
    this.#welcomed.reject(reason);
    this.#left.resolve(endedBy);
    this.#closed.resolve(endedBy);
  }
}
