import { StringDecoder } from "node:string_decoder";
import type { ExecuteExit, ExecuteStreamEvents } from "@instavm/contract";
import type { Caller, CodeEnded, ExecuteRequest, Executions, OutputEvent, StreamStart } from "@instavm/core";
import type { FastifyRequest } from "fastify";
import { displayedForms } from "../answers/displayed.ts";
import { errorBody, toInstaVmError } from "../http/error-answer.ts";
import { EventStream } from "../http/event-stream.ts";
import { answered } from "../http/route.ts";
import type { Exchange } from "../http/route.ts";

/** Whether the client asked for events. */
export function wantsEvents(request: FastifyRequest): boolean {
  const types = (request.headers.accept ?? "").split(",").map((type) => type.split(";", 1)[0]?.trim().toLowerCase());
  return types.includes("text/event-stream");
}

/** What a streamed execute works with. */
export interface StreamedExecute extends Exchange {
  readonly executions: Executions;
  readonly caller: Caller;
  readonly execute: ExecuteRequest;
  readonly heartbeatMs: number;
  /** Aborts when the client leaves, which ends the code. */
  readonly signal: AbortSignal;
}

/** Answers an execute with events. What fails before the code runs is an ordinary error answer. */
export async function streamExecute(call: StreamedExecute): Promise<typeof answered> {
  const { executions, caller, execute, signal, request, reply, heartbeatMs } = call;
  using stream = new EventStream(reply, { heartbeatMs });
  const output = new OutputEvents(stream);
  let start: StreamStart | undefined;
  try {
    const reader = {
      started: (where: StreamStart) => {
        start = where;
        stream.open();
      },
      take: (event: OutputEvent) => output.take(event),
    };
    const ended = await executions.stream(caller, execute, { signal, reader });
    await output.flush();
    if (start !== undefined) await stream.send("exit", exitEvent(start, ended));
  } catch (error) {
    if (!stream.isOpen) throw error;
    await output.flush();
    const failure = errorBody(toInstaVmError(error, request), request.id);
    await stream.send("error", failure satisfies ExecuteStreamEvents["error"]);
  }
  return answered;
}

/** Output as events: text whole characters at a time, whatever the pieces that it comes in. */
class OutputEvents {
  readonly #stream: EventStream;
  readonly #decoders = { stdout: new StringDecoder("utf8"), stderr: new StringDecoder("utf8") };
  #displays = 0;

  constructor(stream: EventStream) {
    this.#stream = stream;
  }

  take(event: OutputEvent): void | Promise<void> {
    switch (event.type) {
      case "stdout":
      case "stderr":
        return this.#sendText(event.type, this.#decoders[event.type].write(bufferOf(event.data)));
      case "display":
        return this.#sendDisplay(event);
      case "started":
        return undefined;
    }
  }

  /** The rest of a character that never became whole. */
  async flush(): Promise<void> {
    await this.#sendText("stdout", this.#decoders.stdout.end());
    await this.#sendText("stderr", this.#decoders.stderr.end());
  }

  #sendText(event: "stdout" | "stderr", text: string): void | Promise<void> {
    if (text === "") return undefined;
    return this.#stream.send(event, { text } satisfies ExecuteStreamEvents["stdout"]);
  }

  async #sendDisplay(shown: Extract<OutputEvent, { type: "display" }>): Promise<void> {
    const display = this.#displays;
    this.#displays += 1;
    for (const form of displayedForms([shown])) {
      await this.#stream.send("result", { ...form, display } satisfies ExecuteStreamEvents["result"]);
    }
  }
}

function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

function exitEvent(start: StreamStart, ended: CodeEnded): ExecuteExit {
  return {
    session_id: start.sessionId,
    vm_id: start.vmId,
    language: ended.language,
    success: ended.exitCode === 0,
    exit_code: ended.exitCode,
    timed_out: ended.timedOut,
    truncated: ended.truncated,
    context_lost: ended.contextLost,
    out_of_memory: ended.outOfMemory,
    execution_time: ended.wallMs / 1000,
    cpu_time: ended.cpuMs / 1000,
    vm_start: start.start ?? null,
    vm_ready_ms: start.readyMs ?? null,
    error: ended.error ?? null,
  };
}
