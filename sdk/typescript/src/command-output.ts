import { InstaVmError, commandOutputEventSchemas } from "@instavm/contract";
import { mayPass } from "./aftermath.ts";
import { Breaks } from "./breaks.ts";
import { toCommandInfo } from "./command-answers.ts";
import type { CommandInfo } from "./command-answers.ts";
import { readEvent } from "./event-data.ts";
import { errorOfEvent } from "./failure.ts";
import { parseJson } from "./json.ts";
import type { ServerEvent } from "./server-events.ts";

/** What comes of a command in the background, in order. When all of it came, the last one is `exit`. */
export type CommandOutput =
  | {
      readonly type: "stdout" | "stderr";
      readonly text: string;
      /** Of its first byte. */
      readonly offset: number;
      /** To go on behind it. */
      readonly nextOffset: number;
    }
  /** So many bytes before `offset` are gone: a command is never stopped for a reader. */
  | { readonly type: "dropped"; readonly bytes: number; readonly offset: number }
  | ({ readonly type: "exit" } & CommandInfo);

/** Where a reader begins. */
export interface OutputStart {
  readonly offset: number;
  /** `offset` counts backwards from the last byte. */
  readonly fromEnd: boolean;
}

/**
 * Reads a command's output to its end, or to that of what is there. A stream that breaks is opened again where it broke.
 * Events that this release does not know are passed over.
 */
export async function* commandOutput(
  open: (start: OutputStart) => AsyncIterable<ServerEvent>,
  start: OutputStart,
  signal: AbortSignal | undefined,
): AsyncGenerator<CommandOutput, void, undefined> {
  let at = start;
  const breaks = new Breaks(signal);
  for (;;) {
    try {
      for await (const { event, data } of open(at)) {
        const came = toOutput(event, parseJson(data), data);
        if (came === "end") return;
        if (came === undefined) continue;
        if ("position" in came) {
          at = { offset: came.position, fromEnd: false };
          if (came.droppedBytes > 0) yield { type: "dropped", bytes: came.droppedBytes, offset: came.position };
          continue;
        }
        breaks.reset();
        if (came.type === "stdout" || came.type === "stderr") at = { offset: came.nextOffset, fromEnd: false };
        yield came;
        if (came.type === "exit") return;
      }
      throw endedTooEarly();
    } catch (error) {
      await breaks.take(error);
    }
  }
}

function endedTooEarly(): InstaVmError {
  const message = "The stream of the command's output ended before the command did.";
  const next = "Check what stands between client and server; the command runs on.";
  return mayPass(new InstaVmError("unavailable", message, { next }), "nothing");
}

interface Position {
  readonly position: number;
  readonly droppedBytes: number;
}

function toOutput(name: string, body: unknown, data: string): CommandOutput | Position | "end" | undefined {
  const schemas = commandOutputEventSchemas;
  switch (name) {
    case "position": {
      const { offset, dropped_bytes: droppedBytes } = readEvent(schemas.position, body);
      return { position: offset, droppedBytes };
    }
    case "stdout":
    case "stderr": {
      const { text, offset, next_offset: nextOffset } = readEvent(schemas[name], body);
      return { type: name, text, offset, nextOffset };
    }
    case "exit":
      return { type: name, ...toCommandInfo(readEvent(schemas.exit, body)) };
    case "more":
      return "end";
    case "error":
      throw whenStopping(errorOfEvent(data));
    default:
      return undefined;
  }
}

/** A server that is stopped says so to its readers, and the command runs on. */
function whenStopping(error: InstaVmError): InstaVmError {
  return error.code === "unavailable" ? mayPass(error, "unknown") : error;
}
