import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { InstaVmError } from "@instavm/contract";
import {
  type Display,
  InputSchema,
  type Outcome,
  OutcomeSchema,
  type Output,
  OutputSchema,
} from "@instavm/protocol/guest";
import { type DisplayEvent, readDisplay } from "./answers.ts";
import { type DisplayPiece, longestDisplayBytes } from "./display-assembly.ts";
import { readEntry, readFileEvent } from "./file-answers.ts";
import { encodeCredit, endStreamFlag, frameTypes, limits, readU32 } from "./frame.ts";
import { cancelledError, guestProtocolError } from "./link-errors.ts";
import { OutputQueue, type QueuedOutput } from "./output-queue.ts";
import { readPosition } from "./process-answers.ts";

/** Data leaves this much of the input window for signals, so that a process that reads nothing can be signalled. */
const signalReserveBytes = 1024;

/** Kinds of Output that a call may send. */
export type OutputKind = NonNullable<Output["output"]["case"]>;

/** What a stream needs of its session. */
export interface StreamHost {
  sendFrame(streamId: number, type: number, frame: { readonly flags?: number; readonly payload?: Uint8Array }): void;
  /** Resolves when little enough is unsent. */
  ready(): Promise<void>;
}

/** What a call may do on its stream. */
export interface StreamPlan {
  /** For messages: the call's name. */
  readonly subject: string;
  readonly accepts: ReadonlySet<OutputKind>;
  /** false: the OPEN frame carried END_STREAM. */
  readonly inputFollows: boolean;
  /** How many bytes of Output may wait here for the reader. */
  readonly windowBytes: number;
}

/** The host's end of one call. Every method is safe after the call has ended. */
export class GuestStream {
  readonly id: number;
  readonly #host: StreamHost;
  readonly #plan: StreamPlan;
  readonly #queue = new OutputQueue();
  readonly #outcome = Promise.withResolvers<Outcome>();
  #state: "running" | "reset" | "ended" = "running";
  #failure: Error | undefined;
  #reader: (() => void) | undefined;
  /** What the agent may still send. */
  #outputWindowBytes: number;
  /** Read, and not granted again yet. */
  #readBytes = 0;
  #emptyMessages = 0;
  #hasStarted = false;
  /** Bytes of a display that is not complete; undefined between displays. */
  #displayBytes: number | undefined;
  #inputWindowBytes: number = limits.firstInputWindowBytes;
  #inputWaiters: (() => void)[] = [];
  #inputEnded: boolean;
  /** Writes of data, one after the other. */
  #dataTurn: Promise<void> = Promise.resolve();

  constructor(id: number, host: StreamHost, plan: StreamPlan) {
    this.id = id;
    this.#host = host;
    this.#plan = plan;
    this.#outputWindowBytes = plan.windowBytes;
    this.#inputEnded = !plan.inputFollows;
    // Whoever does not await the outcome has no use for its failure either.
    this.#outcome.promise.catch(() => {});
  }

  /** How the call ended: rejects when the session broke or the call was cancelled here. */
  get outcome(): Promise<Outcome> {
    return this.#outcome.promise;
  }

  get isSettled(): boolean {
    return this.#state !== "running";
  }

  /** The next output; undefined at the end. Rejects when the session broke or the call was cancelled. One reader at a time. */
  async read(): Promise<QueuedOutput | undefined> {
    for (;;) {
      const output = this.#queue.shift();
      if (output !== undefined) {
        this.#grant(output.costBytes);
        return output;
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.isSettled) return undefined;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#reader = resolve;
      await promise;
    }
  }

  /** Ends the call from this side; the agent is told. `error` is what waiters get. */
  cancel(error: Error): void {
    // What came and was not read is lost to a reader, also when the agent has sent all of it.
    if (!this.#queue.isEmpty) this.#failure ??= error;
    this.#queue.clear();
    if (this.#state !== "running") return;
    this.#state = "reset";
    this.#host.sendFrame(this.id, frameTypes.reset, {});
    this.#settle(error);
  }

  /** Sends `data` in order with earlier data; resolves when all of it is inside the agent's window. */
  async sendData(data: Uint8Array): Promise<void> {
    const turn = this.#dataTurn.then(() => this.#sendPieces(data));
    this.#dataTurn = turn.catch(() => {});
    await turn;
  }

  /** No data follows what was sent so far. Idempotent. */
  endData(): void {
    if (this.#inputEnded) return;
    this.#inputEnded = true;
    this.#dataTurn = this.#afterData();
  }

  get isInputEnded(): boolean {
    return this.#inputEnded;
  }

  /** A process that has ended takes no signal: then it is dropped. */
  async sendSignal(signal: number): Promise<void> {
    const payload = encodeInput({ case: "signal", value: signal });
    await this.#takeInputWindow(payload.length, 0);
    if (this.#state === "running") this.#sendInput(payload);
  }

  /** For the session: a MESSAGE frame. Throws `guest_protocol`. */
  receiveMessage(payload: Uint8Array): void {
    if (this.#state !== "running") return;
    if (payload.length > this.#outputWindowBytes) {
      throw guestProtocolError(
        `${payload.length} bytes of output of ${this.#plan.subject}; ${this.#outputWindowBytes} were granted`,
      );
    }
    this.#outputWindowBytes -= payload.length;
    if (payload.length === 0) {
      this.#emptyMessages += 1;
      if (this.#emptyMessages <= limits.emptyMessagesInARow) return;
      throw guestProtocolError(`more than ${limits.emptyMessagesInARow} empty messages in a row`);
    }
    this.#emptyMessages = 0;
    this.#takeOutput(decodeOutput(payload), payload.length);
  }

  /** For the session: an END frame. Throws `guest_protocol`. */
  receiveEnd(payload: Uint8Array): void {
    const outcome = decodeOutcome(payload);
    if (this.#state !== "running") return;
    this.#state = "ended";
    this.#outcome.resolve(outcome);
    this.#wakeAll();
  }

  /** For the session: a CREDIT frame. Throws `guest_protocol`. */
  receiveCredit(payload: Uint8Array): void {
    if (this.#state !== "running") return;
    const window = this.#inputWindowBytes + readU32(payload, 0);
    if (window > limits.windowBytes) {
      throw guestProtocolError(`a window of ${window} bytes; expected at most ${limits.windowBytes}`);
    }
    this.#inputWindowBytes = window;
    this.#wakeInput();
  }

  /** For the session: it broke, and this call with it. */
  fail(error: Error): void {
    if (this.#state !== "running") return;
    this.#state = "ended";
    this.#settle(error);
  }

  #settle(error: Error): void {
    this.#failure = error;
    this.#outcome.reject(error);
    this.#wakeAll();
  }

  #wakeAll(): void {
    this.#wakeReader();
    this.#wakeInput();
  }

  #wakeReader(): void {
    const wake = this.#reader;
    this.#reader = undefined;
    wake?.();
  }

  #wakeInput(): void {
    const waiters = this.#inputWaiters;
    this.#inputWaiters = [];
    for (const wake of waiters) wake();
  }

  #takeOutput(output: Output["output"], costBytes: number): void {
    if (output.case === undefined) return this.#grant(costBytes);
    if (!this.#plan.accepts.has(output.case)) {
      throw guestProtocolError(`${output.case} in the output of ${this.#plan.subject}`);
    }
    switch (output.case) {
      case "stdout":
      case "stderr":
      case "data":
        this.#queue.pushBytes(output.case, output.value, costBytes);
        break;
      case "started":
        if (this.#hasStarted) throw guestProtocolError(`${this.#plan.subject} started twice`);
        this.#hasStarted = true;
        this.#queue.pushEvent({ type: "started", pid: output.value.pid }, costBytes);
        break;
      case "display": {
        const display = this.#readDisplay(output.value);
        if (display === undefined) return this.#grant(costBytes);
        this.#queue.pushEvent(display, costBytes);
        break;
      }
      case "entry":
        this.#queue.pushEvent({ type: "entry", entry: readEntry(output.value) }, costBytes);
        break;
      case "fileEvent":
        this.#queue.pushEvent(readFileEvent(output.value), costBytes);
        break;
      case "position":
        this.#queue.pushEvent(readPosition(output.value), costBytes);
        break;
    }
    return this.#wakeReader();
  }

  /** A whole display, or a piece of one for whoever reads it; undefined when nothing can be shown. */
  #readDisplay(display: Display): DisplayEvent | DisplayPiece | undefined {
    const earlierBytes = this.#displayBytes;
    if (earlierBytes === undefined && !display.continues) {
      const whole = readDisplay(display);
      return whole.data.size === 0 ? undefined : whole;
    }
    let bytes = earlierBytes ?? 0;
    for (const part of Object.values(display.data)) bytes += part.length;
    if (bytes > longestDisplayBytes) {
      throw guestProtocolError(`a display of ${bytes} bytes; expected at most ${longestDisplayBytes}`);
    }
    this.#displayBytes = display.continues ? bytes : undefined;
    return { ...readDisplay(display), type: "displayPiece", continues: display.continues };
  }

  /** Only what was read is granted again, and in few frames: a short output needs none. */
  #grant(bytes: number): void {
    this.#readBytes += bytes;
    if (this.#state !== "running" || this.#readBytes * 2 < this.#plan.windowBytes) return;
    this.#host.sendFrame(this.id, frameTypes.credit, { payload: encodeCredit(this.#readBytes) });
    this.#outputWindowBytes += this.#readBytes;
    this.#readBytes = 0;
  }

  async #afterData(): Promise<void> {
    await this.#dataTurn;
    if (this.#state === "running") this.#host.sendFrame(this.id, frameTypes.message, { flags: endStreamFlag });
  }

  async #sendPieces(data: Uint8Array): Promise<void> {
    for (let at = 0; at < data.length; at += limits.dataBytes) {
      const payload = encodeInput({ case: "data", value: data.subarray(at, at + limits.dataBytes) });
      await this.#takeInputWindow(payload.length, signalReserveBytes);
      if (this.#failure !== undefined) throw this.#failure;
      if (this.isSettled) {
        throw new InstaVmError("conflict", `${this.#plan.subject} has ended and takes no more input.`);
      }
      this.#sendInput(payload);
    }
  }

  /** Waits until `bytes` fit, with `reserveBytes` left over, or the call has settled. */
  async #takeInputWindow(bytes: number, reserveBytes: number): Promise<void> {
    while (this.#state === "running") {
      if (bytes + reserveBytes <= this.#inputWindowBytes) {
        this.#inputWindowBytes -= bytes;
        return this.#host.ready();
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#inputWaiters.push(resolve);
      await promise;
    }
  }

  #sendInput(payload: Uint8Array): void {
    this.#host.sendFrame(this.id, frameTypes.message, { payload });
  }
}

/** The error of a reader that left before the end. */
export function readerLeftError(subject: string): InstaVmError {
  return cancelledError(subject, "its output was not read to the end");
}

function encodeInput(input: NonNullable<MessageInitShape<typeof InputSchema>["input"]>): Uint8Array {
  return toBinary(InputSchema, create(InputSchema, { input }));
}

/** Unknown fields are dropped: they would keep the payload alive. */
const readOptions = { readUnknownFields: false };

function decodeOutput(payload: Uint8Array): Output["output"] {
  try {
    return fromBinary(OutputSchema, payload, readOptions).output;
  } catch (error) {
    throw guestProtocolError("a MESSAGE that is no Output", error);
  }
}

function decodeOutcome(payload: Uint8Array): Outcome {
  try {
    return fromBinary(OutcomeSchema, payload, readOptions);
  } catch (error) {
    throw guestProtocolError("an END that is no Outcome", error);
  }
}
