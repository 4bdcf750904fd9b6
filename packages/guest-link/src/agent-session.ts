import type {
  ActivateRequest,
  AgentContexts,
  AgentFiles,
  AgentProcesses,
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
import { readCodeEnded, readExecEnded, readStats, toNumber } from "./answers.ts";
import { CallOutput, ExecOutput } from "./call-output.ts";
import { Calls, type CallShape, type ReadOutcome } from "./calls.ts";
import { printable } from "./failure.ts";
import type { FrameSession } from "./frame-session.ts";
import { sendContent, sendRest } from "./call-input.ts";
import { readerLeftError } from "./guest-stream.ts";
import { readPath } from "./guest-path.ts";
import { activateCall, execCall, readFileCall, runCodeCall, setClockCall, writeFileCall } from "./requests.ts";
import { LinkedContexts } from "./session-contexts.ts";
import { LinkedFiles } from "./session-files.ts";
import { LinkedProcesses } from "./session-processes.ts";

/** What the guest gets beyond a call's own limit to end it and say so. */
const graceMs = 10_000;
const longestVersion = 128;

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
  readonly contexts: AgentContexts;
  readonly files: AgentFiles;
  readonly processes: AgentProcesses;
  readonly #frames: FrameSession;
  readonly #calls: Calls;

  constructor(frames: FrameSession) {
    this.#frames = frames;
    this.#calls = new Calls(frames);
    this.contexts = new LinkedContexts(this.#calls);
    this.files = new LinkedFiles(this.#calls);
    this.processes = new LinkedProcesses(this.#calls);
  }

  get closed(): Promise<Error | undefined> {
    return this.#frames.closed;
  }

  async ping(waiting: Waiting = {}): Promise<{ readonly agentVersion: string }> {
    return this.#calls.ask({ case: "ping", value: {} }, { subject: "ping", topic: "vm", waiting }, (outcome) =>
      outcome.case === "pong"
        ? { agentVersion: printable(outcome.value.agentVersion).slice(0, longestVersion) }
        : undefined,
    );
  }

  async activate(request: ActivateRequest, waiting: Waiting = {}, lateMs = 0): Promise<void> {
    await this.#calls.ask(activateCall(request, lateMs), { subject: "activate", topic: "vm", waiting }, (outcome) =>
      outcome.case === "activated" ? true : undefined,
    );
  }

  /** Steps the guest's clock. */
  async setClock(unixTimeMs: number, waiting: Waiting = {}): Promise<void> {
    await this.#calls.ask(setClockCall(unixTimeMs), { subject: "set the clock", topic: "vm", waiting }, (outcome) =>
      outcome.case === "clockSet" ? true : undefined,
    );
  }

  async stats(waiting: Waiting = {}): Promise<GuestStats> {
    return this.#calls.ask({ case: "stats", value: {} }, { subject: "stats", topic: "vm", waiting }, (outcome) =>
      outcome.case === "stats" ? readStats(outcome.value) : undefined,
    );
  }

  async restartContext(contextId: string, waiting: Waiting = {}): Promise<void> {
    await this.#calls.ask(
      { case: "restartContext", value: { contextId } },
      { subject: "restart context", topic: "context", waiting },
      contextAnswer,
    );
  }

  async interruptContext(contextId: string, waiting: Waiting = {}): Promise<void> {
    await this.#calls.ask(
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
    const stream = this.#calls.open(call, shape, withGrace(waiting, request.limitMs));
    const ended = this.#calls.ended(stream, shape, (outcome) =>
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
    const stream = this.#calls.open(call, shape, withGrace(waiting, request.limitMs));
    const ended = this.#calls.ended(stream, shape, (outcome) =>
      outcome.case === "codeEnded" ? readCodeEnded(outcome.value) : undefined,
    );
    if (rest !== undefined) sendRest(stream, rest);
    return new CallOutput({ subject: shape.subject, stream, ended });
  }

  async *readFile(path: GuestPath, options: FileOptions = {}): AsyncGenerator<Uint8Array, undefined> {
    const { offset = 0, length = 0 } = options;
    const shape: CallShape = { subject: "read file", topic: "file", accepts: ["data"], inputFollows: false };
    const stream = this.#calls.open(readFileCall(path, { offset, length }), shape, options);
    const ended = this.#calls.ended(stream, shape, (outcome) =>
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
      if (announced !== readBytes)
        throw this.#calls.violated(`${readBytes} bytes of a file, and ${announced} announced`);
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
    const stream = this.#calls.open(writeFileCall(path, options), shape, options);
    const ended = this.#calls.ended(stream, shape, (outcome) =>
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
}

const contextAnswer: ReadOutcome<true> = (outcome) => (outcome.case === "context" ? true : undefined);

/** The guest ends a call at its limit; the host waits a little longer for that. */
function withGrace(waiting: Waiting, limitMs: number | undefined): Waiting {
  return limitMs === undefined ? waiting : { timeoutMs: limitMs + graceMs, ...waiting };
}
