import { InstaVmError, executeStreamEventSchemas } from "@instavm/contract";
import { toDisplayed, toExecuteEnd } from "./answers.ts";
import type { Displayed, ExecuteEnd } from "./answers.ts";
import { readEvent } from "./event-data.ts";
import { errorOfEvent } from "./failure.ts";
import { parseJson } from "./json.ts";
import type { ServerEvent } from "./server-events.ts";

/** What comes of streamed code, in order. The last one is `exit`. */
export type ExecuteEvent =
  | { readonly type: "stdout" | "stderr"; readonly text: string }
  | ({ readonly type: "result" } & Omit<Displayed, "type"> & { readonly mimeType: string })
  | ({ readonly type: "exit" } & ExecuteEnd);

/** Reads the server's events to `exit`; throws what an `error` event says. Events that this release does not know are passed over. */
export async function* executeEvents(
  events: AsyncIterable<ServerEvent>,
): AsyncGenerator<ExecuteEvent, void, undefined> {
  for await (const { event, data } of events) {
    if (event === "error") throw errorOfEvent(data);
    const known = toExecuteEvent(event, parseJson(data));
    if (known === undefined) continue;
    yield known;
    if (known.type === "exit") return;
  }
  throw new InstaVmError("unavailable", "The stream of the code's output ended before the code did.", {
    next: "Check what stands between client and server; the code has been ended.",
  });
}

function toExecuteEvent(name: string, data: unknown): ExecuteEvent | undefined {
  const schemas = executeStreamEventSchemas;
  switch (name) {
    case "stdout":
    case "stderr":
      return { type: name, text: readEvent(schemas.stdout, data).text };
    case "result": {
      const { type: mimeType, ...shown } = toDisplayed(readEvent(schemas.result, data));
      return { type: name, mimeType, ...shown };
    }
    case "exit":
      return { type: name, ...toExecuteEnd(readEvent(schemas.exit, data)) };
    default:
      return undefined;
  }
}
