import { InstaVmError } from "@instavm/contract";
import type { Waiting } from "@instavm/core";
import type { Outcome } from "@instavm/protocol/guest";
import { abortError, boundCall } from "./call-bounds.ts";
import { type CallTopic, readFailure } from "./failure.ts";
import { endStreamFlag } from "./frame.ts";
import type { FrameSession } from "./frame-session.ts";
import type { GuestStream, OutputKind } from "./guest-stream.ts";
import { guestProtocolError } from "./link-errors.ts";
import { encodeOpen, type OpenCall } from "./requests.ts";

/** For calls that the agent answers by itself, at once. */
const shortCallTimeoutMs = 10_000;
/** Output that may wait for its reader, per call. */
const outputWindowBytes = 262_144;

/** What the host must know of a call beside its request. */
export interface CallShape {
  /** For messages: the call's name. */
  readonly subject: string;
  readonly topic: CallTopic;
  readonly accepts: readonly OutputKind[];
  readonly inputFollows: boolean;
  /** Output that may wait for its reader; undefined = 256 KiB. */
  readonly windowBytes?: number;
}

/** Reads one case of Outcome; undefined = it is another case. Throws `guest_protocol`. */
export type ReadOutcome<T> = (outcome: Outcome["outcome"]) => T | undefined;

/** Opens calls on the frames of one session and reads how they ended. */
export class Calls {
  readonly #frames: FrameSession;

  constructor(frames: FrameSession) {
    this.#frames = frames;
  }

  /** A call without input and output; 10 s unless the caller says otherwise. */
  async ask<T>(
    call: OpenCall,
    of: { readonly subject: string; readonly topic: CallTopic; readonly waiting: Waiting },
    read: ReadOutcome<T>,
  ): Promise<T> {
    const shape: CallShape = { subject: of.subject, topic: of.topic, accepts: [], inputFollows: false };
    const stream = this.open(call, shape, { timeoutMs: shortCallTimeoutMs, ...of.waiting });
    return this.ended(stream, shape, read);
  }

  /** Throws when the session has ended or the caller has given up. */
  open(call: OpenCall, shape: CallShape, waiting: Waiting): GuestStream {
    if (waiting.signal?.aborted === true) throw abortError(shape.subject, waiting.signal);
    const windowBytes = shape.accepts.length === 0 ? 0 : (shape.windowBytes ?? outputWindowBytes);
    const payload = encodeOpen(call, windowBytes);
    const flags = shape.inputFollows ? 0 : endStreamFlag;
    const plan = {
      subject: shape.subject,
      accepts: new Set(shape.accepts),
      inputFollows: shape.inputFollows,
      windowBytes,
    };
    const stream = this.#frames.open(plan, { flags, payload });
    boundCall(shape.subject, stream, waiting);
    return stream;
  }

  /** How a call ended. Rejects with what the guest failed with, or what ended the call before. */
  ended<T>(stream: GuestStream, shape: CallShape, read: ReadOutcome<T>): Promise<T> {
    const ended = this.#readOutcome(stream, shape, read);
    // It may fail while nobody awaits it yet: a reader or writer of the same call is told, too.
    ended.catch(() => {});
    return ended;
  }

  /** Ends the session, because the guest said what cannot be. */
  violated(observed: string): InstaVmError {
    const error = guestProtocolError(observed);
    this.#frames.breakOff(error);
    return error;
  }

  async #readOutcome<T>(stream: GuestStream, shape: CallShape, read: ReadOutcome<T>): Promise<T> {
    const { outcome } = await stream.outcome;
    try {
      if (outcome.case === "failure") throw readFailure(outcome.value, shape);
      const result = read(outcome);
      if (result === undefined)
        throw guestProtocolError(`${outcome.case ?? "nothing"} as the outcome of ${shape.subject}`);
      return result;
    } catch (error) {
      if (error instanceof InstaVmError && error.code === "guest_protocol") this.#frames.breakOff(error);
      throw error;
    }
  }
}
