import { connect } from "node:net";
import type { Socket } from "node:net";
import type { RealServer } from "./real-server.ts";

/** One server-sent event with its JSON. */
export interface StreamedEvent {
  readonly event: string;
  readonly data: unknown;
}

/** Runs code and resolves with all its events, in their order. */
export async function streamEvents(
  server: RealServer,
  body: Readonly<Record<string, unknown>>,
): Promise<readonly StreamedEvent[]> {
  const answer = await fetch(`${server.baseUrl}/execute`, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "x-api-key": server.apiKey, "content-type": "application/json", accept: "text/event-stream" },
    signal: AbortSignal.timeout(170_000),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${String(answer.status)}: ${text}`);
  return eventsOf(text);
}

/** The events of a stream's text; comments and what is not whole are left out. */
export function eventsOf(text: string): readonly StreamedEvent[] {
  const blocks = text.split("\n\n").filter((block) => block.startsWith("event: "));
  return blocks.map((block) => {
    const [, event = "", data = ""] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? [];
    const parsed: unknown = JSON.parse(data);
    return { event, data: parsed };
  });
}

/** The text of all events of one kind. */
export function textOf(events: readonly StreamedEvent[], kind: "stdout" | "stderr"): string {
  return events
    .filter(({ event }) => event === kind)
    .map(({ data }) => (isText(data) ? data.text : ""))
    .join("");
}

function isText(data: unknown): data is { readonly text: string } {
  return typeof data === "object" && data !== null && "text" in data && typeof data.text === "string";
}

/** Asks for the events of code on a connection that the test reads by hand. */
export function openStream(server: RealServer, body: Readonly<Record<string, unknown>>): Socket {
  const { hostname, port } = new URL(server.baseUrl);
  const socket = connect(Number(port), hostname);
  const json = JSON.stringify(body);
  const head = [
    "POST /execute HTTP/1.1",
    `host: ${hostname}`,
    "accept: text/event-stream",
    "content-type: application/json",
    `x-api-key: ${server.apiKey}`,
    `content-length: ${String(Buffer.byteLength(json))}`,
  ];
  socket.on("error", () => undefined);
  socket.write(`${head.join("\r\n")}\r\n\r\n${json}`);
  return socket;
}
