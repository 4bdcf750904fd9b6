import { InstaVmError } from "@instavm/contract";
import type {
  ActivateRequest,
  AgentSession,
  CodeEnded,
  ExecCall,
  ExecRequest,
  GuestPath,
  GuestStats,
  OutputCall,
  RunCodeRequest,
  Waiting,
} from "@instavm/core";
import type { Outcome } from "@instavm/protocol/guest";
import { readCodeEnded, readExecEnded, readStats, toNumber } from "./answers.ts";
import { abortError, boundCall } from "./call-bounds.ts";
import { CallOutput, ExecOutput } from "./call-output.ts";
import { type CallTopic, printable, readFailure } from "./failure.ts";
import { endStreamFlag } from "./frame.ts";
import type { FrameSession } from "./frame-session.ts";
import { sendContent, sendRest } from "./call-input.ts";
import { type GuestStream, type OutputKind, readerLeftError } from "./guest-stream.ts";
import { readPath } from "./guest-path.ts";
import { guestProtocolError } from "./link-errors.ts";
import {
  activateCall,
  encodeOpen,
  execCall,
  type OpenCall,
  readFileCall,
  runCodeCall,
  writeFileCall,
} from "./requests.ts";

/** For calls that the agent answers by itself, at once. */
const shortCallTimeoutMs = 10_000;
/** What the guest gets beyond a call's own limit to end it and say so. */
const graceMs = 10_000;
/** Output that may wait for its reader, per call. */
const outputWindowBytes = 262_144;
const longestVersion = 128;

interface CallShape {
  readonly subject: string;
  readonly topic: CallTopic;
  readonly accepts: readonly OutputKind[];
  readonly inputFollows: boolean;
}

/** Reads one case of Outcome; undefined = it is another case. Throws `guest_protocol`. */
type ReadOutcome<T> = (outcome: Outcome["outcome"]) => T | undefined;

interface FileOptions extends Waiting {
  readonly offset?: number;
  readonly length?: number;
}

interface WriteOptions extends Waiting {
  readonly mode?: number;
  readonly makeParents?: boolean;
  readonly limitBytes?: number;
}

/** The calls of the port, over the frames of one session. */
export class LinkedSession implements AgentSession, AsyncDisposable {
  readonly #frames: FrameSession;

  constructor(frames: FrameSession) {
    this.#frames = frames;
  }

  get closed(): Promise<Error | undefined> {
    return this.#frames.closed;
  }

  async ping(waiting: Waiting = {}): Promise<{ readonly agentVersion: string }> {
    return this.#ask({ case: "ping", value: {} }, { subject: "ping", topic: "vm", waiting }, (outcome) =>
      outcome.case === "pong"
        ? { agentVersion: printable(outcome.value.agentVersion).slice(0, longestVersion) }
        : undefined,
    );
  }

  async activate(request: ActivateRequest, waiting: Waiting = {}, lateMs = 0): Promise<void> {
    await this.#ask(activateCall(request, lateMs), { subject: "activate", topic: "vm", waiting }, (outcome) =>
      outcome.case === "activated" ? true : undefined,
    );
  }

  async stats(waiting: Waiting = {}): Promise<GuestStats> {
    return this.#ask({ case: "stats", value: {} }, { subject: "stats", topic: "vm", waiting }, (outcome) =>
      outcome.case === "stats" ? readStats(outcome.value) : undefined,
    );
  }

  async restartContext(contextId: string, waiting: Waiting = {}): Promise<void> {
    await this.#ask(
      { case: "restartContext", value: { contextId } },
      { subject: "restart context", topic: "context", waiting },
      contextAnswer,
    );
  }

  async interruptContext(contextId: string, waiting: Waiting = {}): Promise<void> {
    await this.#ask(
      { case: "interruptContext", value: { contextId } },
      { subject: "interrupt context", topic: "context", waiting },
      contextAnswer,
    );
  }

  exec(request: ExecRequest, waiting: Waiting = {}): ExecCall {
    const { call, rest } = execCall(request);
    const shape: CallShape = {
      subject: "exec",
      topic: "process",
      accepts: ["stdout", "stderr", "started"],
      inputFollows: rest !== undefined || request.openStdin === true,
    };
    const stream = this.#open(call, shape, withGrace(waiting, request.limitMs));
    const ended = this.#ended(stream, shape, (outcome) =>
      outcome.case === "execEnded" ? readExecEnded(outcome.value) : undefined,
    );
    if (rest !== undefined) sendRest(stream, rest);
    return new ExecOutput({ subject: shape.subject, stream, ended, hasStdin: request.openStdin === true });
  }

  runCode(request: RunCodeRequest, waiting: Waiting = {}): OutputCall<CodeEnded> {
    const { call, rest } = runCodeCall(request);
    const shape: CallShape = {
      subject: "run code",
      topic: "code",
      accepts: ["stdout", "stderr", "display"],
      inputFollows: rest !== undefined,
    };
    const stream = this.#open(call, shape, withGrace(waiting, request.limitMs));
    const ended = this.#ended(stream, shape, (outcome) =>
      outcome.case === "codeEnded" ? readCodeEnded(outcome.value) : undefined,
    );
    if (rest !== undefined) sendRest(stream, rest);
    return new CallOutput({ subject: shape.subject, stream, ended });
  }

  async *readFile(path: GuestPath, options: FileOptions = {}): AsyncGenerator<Uint8Array, undefined> {
    const { offset = 0, length = 0 } = options;
    const shape: CallShape = { subject: "read file", topic: "file", accepts: ["data"], inputFollows: false };
    const stream = this.#open(readFileCall(path, { offset, length }), shape, options);
    const ended = this.#ended(stream, shape, (outcome) =>
      outcome.case === "fileRead" ? toNumber(outcome.value.bytes) : undefined,
    );
    let readBytes = 0;
    try {
      for (let output = await stream.read(); output !== undefined; output = await stream.read()) {
        if (output.event.type !== "data") continue;
        readBytes += output.event.data.length;
        yield output.event.data;
      }
      const announced = await ended;
      if (announced !== readBytes) throw this.#violated(`${readBytes} bytes of a file, and ${announced} announced`);
    } finally {
      stream.cancel(readerLeftError(shape.subject));
    }
    return undefined;
  }

  async writeFile(
    path: GuestPath,
    content: AsyncIterable<Uint8Array> | Uint8Array,
    options: WriteOptions = {},
  ): Promise<{ readonly path: string; readonly bytes: number }> {
    const shape: CallShape = { subject: "write file", topic: "file", accepts: [], inputFollows: true };
    const stream = this.#open(writeFileCall(path, options), shape, options);
    const ended = this.#ended(stream, shape, (outcome) =>
      outcome.case === "fileWritten"
        ? { path: readPath(outcome.value.path), bytes: toNumber(outcome.value.bytes) }
        : undefined,
    );
    await sendContent(stream, content);
    return ended;
  }

  async detach(waiting: Waiting = {}): Promise<void> {
    await this.#frames.detach(waiting.timeoutMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.detach();
  }

  /** A call without input and output. */
  async #ask<T>(
    call: OpenCall,
    of: { readonly subject: string; readonly topic: CallTopic; readonly waiting: Waiting },
    read: ReadOutcome<T>,
  ): Promise<T> {
    const shape: CallShape = { subject: of.subject, topic: of.topic, accepts: [], inputFollows: false };
    const stream = this.#open(call, shape, { timeoutMs: shortCallTimeoutMs, ...of.waiting });
    return this.#ended(stream, shape, read);
  }

  #open(call: OpenCall, shape: CallShape, waiting: Waiting): GuestStream {
    if (waiting.signal?.aborted === true) throw abortError(shape.subject, waiting.signal);
    const windowBytes = shape.accepts.length === 0 ? 0 : outputWindowBytes;
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

  #ended<T>(stream: GuestStream, shape: CallShape, read: ReadOutcome<T>): Promise<T> {
    const ended = this.#readOutcome(stream, shape, read);
    // It may fail while nobody awaits it yet: a reader or writer of the same call is told, too.
    ended.catch(() => {});
    return ended;
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

  #violated(observed: string): InstaVmError {
    const error = guestProtocolError(observed);
    this.#frames.breakOff(error);
    return error;
  }
}

const contextAnswer: ReadOutcome<true> = (outcome) => (outcome.case === "context" ? true : undefined);

/** The guest ends a call at its limit; the host waits a little longer for that. */
function withGrace(waiting: Waiting, limitMs: number | undefined): Waiting {
  return limitMs === undefined ? waiting : { timeoutMs: limitMs + graceMs, ...waiting };
}
