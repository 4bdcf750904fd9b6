import { InstaVmError } from "@instavm/contract";
import type {
  AgentProcesses,
  AttachOptions,
  GuestProcess,
  ProcessOutputEvent,
  ProcessReader,
  StartProcessRequest,
  Waiting,
} from "@instavm/core";
import { toNumber } from "./answers.ts";
import { sendContent, sendRest } from "./call-input.ts";
import type { Calls, CallShape, ReadOutcome } from "./calls.ts";
import { type GuestStream, readerLeftError } from "./guest-stream.ts";
import { readProcess } from "./process-answers.ts";
import { count, startProcessCall } from "./requests.ts";

const startTimeoutMs = 10_000;
const greatestId = 0xff_ff_ff_ff;
const greatestSignal = 64;

/** The processes of the VM behind one session that outlive it. */
export class LinkedProcesses implements AgentProcesses {
  readonly #calls: Calls;

  constructor(calls: Calls) {
    this.#calls = calls;
  }

  async start(request: StartProcessRequest, waiting: Waiting = {}): Promise<GuestProcess> {
    const { call, rest } = startProcessCall(request);
    const inputFollows = rest !== undefined;
    // What is not found then is the program, the directory or the user.
    const shape: CallShape = { subject: "start process", topic: "process", accepts: [], inputFollows };
    const stream = this.#calls.open(call, shape, { timeoutMs: startTimeoutMs, ...waiting });
    const started = this.#calls.ended(stream, shape, processAnswer);
    if (rest !== undefined) sendRest(stream, rest);
    return started;
  }

  async list(waiting: Waiting = {}): Promise<readonly GuestProcess[]> {
    const of = { subject: "list processes", topic: "background", waiting } as const;
    return this.#calls.ask({ case: "listProcesses", value: {} }, of, (outcome) =>
      outcome.case === "processes" ? outcome.value.processes.map(readProcess) : undefined,
    );
  }

  attach(processId: number, options: AttachOptions = {}): ProcessReader {
    const { offset = 0, fromEnd = false, follow = true, ...waiting } = options;
    const value = { processId: idOf(processId), offset: BigInt(count("offset", offset)), fromEnd, follow };
    const shape: CallShape = {
      subject: "attach to process",
      topic: "background",
      accepts: ["stdout", "stderr", "position"],
      inputFollows: false,
    };
    const stream = this.#calls.open({ case: "attachProcess", value }, shape, waiting);
    const state = this.#calls.ended(stream, shape, processAnswer);
    return new AttachedOutput(this.#calls, { subject: shape.subject, stream, state });
  }

  async writeStdin(
    processId: number,
    content: AsyncIterable<Uint8Array> | Uint8Array,
    options: Waiting & { readonly close?: boolean } = {},
  ): Promise<number> {
    const { close = false, ...waiting } = options;
    const shape: CallShape = { subject: "write stdin", topic: "background", accepts: [], inputFollows: true };
    const value = { processId: idOf(processId), close };
    const stream = this.#calls.open({ case: "writeStdin", value }, shape, waiting);
    const written = this.#calls.ended(stream, shape, (outcome) =>
      outcome.case === "stdinWritten" ? toNumber(outcome.value.bytes) : undefined,
    );
    await sendContent(stream, content);
    return written;
  }

  async signal(processId: number, signal: number, waiting: Waiting = {}): Promise<GuestProcess> {
    if (!Number.isInteger(signal) || signal < 1 || signal > greatestSignal) {
      throw new InstaVmError("invalid", `signal is ${signal}; expected 1 to ${greatestSignal}.`);
    }
    const of = { subject: "signal process", topic: "background", waiting } as const;
    const value = { processId: idOf(processId), signal };
    return this.#calls.ask({ case: "signalProcess", value }, of, processAnswer);
  }

  async wait(processId: number, waiting: Waiting = {}): Promise<GuestProcess> {
    const shape: CallShape = {
      subject: "wait for process",
      topic: "background",
      accepts: [],
      inputFollows: false,
    };
    const call = { case: "waitProcess", value: { processId: idOf(processId) } } as const;
    return this.#calls.ended(this.#calls.open(call, shape, waiting), shape, processAnswer);
  }

  async forget(processId: number, waiting: Waiting = {}): Promise<GuestProcess> {
    const of = { subject: "forget process", topic: "background", waiting } as const;
    return this.#calls.ask({ case: "forgetProcess", value: { processId: idOf(processId) } }, of, processAnswer);
  }
}

const processAnswer: ReadOutcome<GuestProcess> = (outcome) =>
  outcome.case === "process" ? readProcess(outcome.value) : undefined;

/** Throws `command_not_found` for what no id is. */
function idOf(processId: number): number {
  if (Number.isInteger(processId) && processId >= 1 && processId <= greatestId) return processId;
  throw new InstaVmError("command_not_found", `Process ${processId} does not exist in this VM.`);
}

/** A stream as the output of one process. Iterated once. */
class AttachedOutput implements ProcessReader {
  readonly state: Promise<GuestProcess>;
  readonly #calls: Calls;
  readonly #subject: string;
  readonly #stream: GuestStream;
  #isIterated = false;
  /** Of the next byte; undefined before the first position. */
  #offset: number | undefined;

  constructor(
    calls: Calls,
    of: { readonly subject: string; readonly stream: GuestStream; readonly state: Promise<GuestProcess> },
  ) {
    this.#calls = calls;
    this.#subject = of.subject;
    this.#stream = of.stream;
    this.state = of.state;
  }

  [Symbol.asyncIterator](): AsyncIterator<ProcessOutputEvent, undefined> {
    if (this.#isIterated) throw new InstaVmError("internal", `${this.#subject}: its output can be read only once.`);
    this.#isIterated = true;
    return {
      next: () => this.#next(),
      return: () => {
        this.#stream.cancel(readerLeftError(this.#subject));
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  async #next(): Promise<IteratorResult<ProcessOutputEvent, undefined>> {
    const output = await this.#stream.read();
    if (output === undefined) {
      await this.state;
      return { done: true, value: undefined };
    }
    const { event } = output;
    if (event.type === "position") {
      const expected = this.#offset;
      if (expected !== undefined && expected + event.droppedBytes !== event.offset) {
        throw this.#calls.violated(`output at ${event.offset} with ${event.droppedBytes} bytes lost after ${expected}`);
      }
      this.#offset = event.offset;
      return { done: false, value: event };
    }
    if (event.type !== "stdout" && event.type !== "stderr") {
      throw this.#calls.violated(`${event.type} in the output of a process`);
    }
    if (this.#offset === undefined) throw this.#calls.violated("output of a process without its position");
    this.#offset += event.data.length;
    return { done: false, value: event };
  }
}
