import type { CommandOutputEvents, VmId } from "@instavm/contract";
import type { Caller, Commands, GuestProcess, ProcessOutputEvent, ReadOutputRequest } from "@instavm/core";
import { commandAnswer } from "../answers/command-answers.ts";
import { errorBody, toInstaVmError } from "../http/error-answer.ts";
import { EventStream } from "../http/event-stream.ts";
import { answered } from "../http/route.ts";
import type { Exchange } from "../http/route.ts";
import { OutputText } from "./output-text.ts";
import type { PlacedText } from "./output-text.ts";

/** What a stream of a command's output works with. */
export interface StreamedOutput extends Exchange {
  readonly commands: Commands;
  readonly caller: Caller;
  readonly vmId: VmId;
  readonly part: ReadOutputRequest;
  readonly heartbeatMs: number;
  /** Aborts when the client leaves, which leaves the command alone. */
  readonly signal: AbortSignal;
}

/** Answers with a command's output as events. What fails before the first of them is an ordinary error answer. */
export async function streamOutput(call: StreamedOutput): Promise<typeof answered> {
  const { commands, caller, vmId, part, signal, request, reply, heartbeatMs } = call;
  using stream = new EventStream(reply, { heartbeatMs });
  if (request.method === "HEAD") {
    await commands.get(caller, { ...part, waitMs: 0 }, { signal });
    stream.open();
    return answered;
  }
  const output = new OutputEvents(stream);
  try {
    const state = await commands.readOutput(caller, part, { signal, take: async (event) => output.take(event) });
    await output.end(state, vmId);
  } catch (error) {
    if (!stream.isOpen) throw error;
    const failure = errorBody(toInstaVmError(error, request), request.id);
    await stream.send("error", failure satisfies CommandOutputEvents["error"]);
  }
  return answered;
}

/** Output as events. */
class OutputEvents {
  readonly #stream: EventStream;
  readonly #text = new OutputText();

  constructor(stream: EventStream) {
    this.#stream = stream;
  }

  async take(event: ProcessOutputEvent): Promise<void> {
    if (event.type !== "position") {
      const text = this.#text.take(event.type, event.data);
      if (text !== undefined) await this.#send([text]);
      return;
    }
    const { offset, droppedBytes } = event;
    this.#stream.open();
    await this.#send(this.#text.moveTo(offset));
    await this.#stream.send("position", {
      offset,
      dropped_bytes: droppedBytes,
    } satisfies CommandOutputEvents["position"]);
  }

  /** `state` is how the command stands behind what was sent: it may have printed more since. */
  async end(state: GuestProcess, vmId: VmId): Promise<void> {
    const isAll = state.ended !== undefined && this.#text.offset >= state.outputBytes;
    if (isAll) await this.#send(this.#text.rest());
    const command = commandAnswer(vmId, state);
    await this.#stream.send(isAll ? "exit" : "more", command satisfies CommandOutputEvents["exit"]);
  }

  async #send(texts: readonly PlacedText[]): Promise<void> {
    for (const { channel, data } of texts) await this.#stream.send(channel, data);
  }
}
