import { expect, test } from "vitest";
import { serverEvents } from "./server-events.ts";

function streamOf(chunks: readonly Uint8Array[], onCancel = (): void => undefined): ReadableStream<Uint8Array> {
  const left = [...chunks];
  return new ReadableStream({
    pull: (controller) => {
      const chunk = left.shift();
      if (chunk === undefined) controller.close();
      else controller.enqueue(chunk);
    },
    cancel: onCancel,
  });
}

async function eventsOf(text: string, chunkBytes: number): Promise<unknown[]> {
  const bytes = new TextEncoder().encode(text);
  const chunks = Array.from({ length: Math.ceil(bytes.length / chunkBytes) }, (_, at) =>
    bytes.slice(at * chunkBytes, (at + 1) * chunkBytes),
  );
  const events: unknown[] = [];
  for await (const event of serverEvents(streamOf(chunks))) events.push(event);
  return events;
}

test.each([1, 2, 3, 7, 1000])("events are the same however their bytes are cut: %i at a time", async (chunkBytes) => {
  const text =
    ": a comment\n\nevent: stdout\ndata: grün\ndata: two\n\ndata:no space\r\n\r\nid: 7\rdata: carriage\r\revent: empty\n\ndata: cut";
  expect(await eventsOf(text, chunkBytes)).toEqual([
    { event: "stdout", data: "grün\ntwo", id: undefined },
    { event: "message", data: "no space", id: undefined },
    { event: "message", data: "carriage", id: "7" },
  ]);
});

test("leaving the loop early cancels the stream", async () => {
  let cancelled = false;
  const bytes = new TextEncoder().encode("data: 1\n\ndata: 2\n\n");
  const stream = streamOf([bytes, bytes, bytes], () => {
    cancelled = true;
  });
  for await (const event of serverEvents(stream)) {
    expect(event.data).toBe("1");
    break;
  }
  expect(cancelled).toBe(true);
});
