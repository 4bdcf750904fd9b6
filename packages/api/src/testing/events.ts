/** One event of a stream. */
export interface SeenEvent {
  readonly event: string;
  readonly data: unknown;
}

/** The events of a whole stream, without the comments between them. */
export function eventsOf(body: string): readonly SeenEvent[] {
  return body
    .split("\n\n")
    .filter((block) => block.startsWith("event: "))
    .map((block) => {
      const [, event = "", data = ""] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? [];
      const parsed: unknown = JSON.parse(data);
      return { event, data: parsed };
    });
}
