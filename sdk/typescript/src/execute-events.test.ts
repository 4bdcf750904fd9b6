import { expect, test } from "vitest";
import type { ExecuteEvent } from "./index.ts";
import { ScriptedServer, sendError } from "./testing/scripted-server.ts";
import type { Answerer } from "./testing/scripted-server.ts";

const sessionId = "0b5c6a0e-3f63-4d9b-8c43-0c7a3f5e2a11";
const exit = {
  session_id: sessionId,
  vm_id: "abcdefghij0123456789",
  language: "python",
  success: false,
  exit_code: 3,
  timed_out: false,
  truncated: false,
  context_lost: false,
  out_of_memory: false,
  execution_time: 0.1,
  cpu_time: 0.1,
  vm_start: null,
  vm_ready_ms: null,
  error: null,
};

/** Answers with events, and ends unless it is told to stay. */
function answerOf(events: readonly (readonly [string, unknown])[], stay = false): Answerer {
  return (_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
    response.write(": open\n\n");
    for (const [event, data] of events) response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    if (!stay) response.end();
  };
}

async function eventsOf(stream: AsyncIterable<ExecuteEvent>): Promise<ExecuteEvent[]> {
  const events: ExecuteEvent[] = [];
  for await (const event of stream) events.push(event);
  return events;
}

test("output, results and the end come in order; unknown events are passed over", async () => {
  const shown = { type: "image/png", data: "aGk=", display: 0, is_result: true };
  await using server = await ScriptedServer.start(
    answerOf([
      ["stdout", { text: "a\nb" }],
      ["of_a_newer_server", 1],
      ["stderr", { text: "ü" }],
      ["result", shown],
      ["exit", exit],
    ]),
  );
  expect(await eventsOf(server.client.stream(sessionId, "code"))).toEqual([
    { type: "stdout", text: "a\nb" },
    { type: "stderr", text: "ü" },
    { type: "result", mimeType: "image/png", data: "aGk=", display: 0, isResult: true },
    expect.objectContaining({ type: "exit", exitCode: 3, success: false }),
  ]);
});

test.each([
  [
    "an error event",
    answerOf([["error", { detail: "The VM ended.", code: "vm_lost", next: "Call again.", request_id: "r" }]]),
    "vm_lost",
  ],
  ["an error answer", (_, response) => sendError(response, 404, "session_not_found"), "session_not_found"],
  ["an end without an exit", answerOf([["stdout", { text: "half" }]]), "unavailable"],
  ["data of another shape", answerOf([["exit", { code: 0 }]]), "bad_gateway"],
  ["an answer that is no stream", (_, response) => response.end("hello"), "bad_gateway"],
] satisfies [string, Answerer, string][])("%s is thrown with its code", async (_, answer, code) => {
  await using server = await ScriptedServer.start(answer);
  await expect(eventsOf(server.client.stream(sessionId, "code"))).rejects.toMatchObject({ code });
});

test("a connection that breaks is an error", async () => {
  await using server = await ScriptedServer.start((received, response) => {
    answerOf([["stdout", { text: "1" }]], true)(received, response);
    setTimeout(() => response.destroy(), 20).unref();
  });
  await expect(eventsOf(server.client.stream(sessionId, "code"))).rejects.toMatchObject({ code: "unavailable" });
});

test("leaving the loop ends the request", async () => {
  const { promise: closed, resolve } = Promise.withResolvers<boolean>();
  await using server = await ScriptedServer.start((received, response) => {
    answerOf([["stdout", { text: "1" }]], true)(received, response);
    response.once("close", () => {
      resolve(true);
    });
  });
  for await (const event of server.client.stream(sessionId, "code")) {
    expect(event.type).toBe("stdout");
    break;
  }
  expect(await closed).toBe(true);
});

test("an abort ends a stream under way with the caller's reason, a deadline with a timeout", async () => {
  await using server = await ScriptedServer.start(answerOf([["stdout", { text: "1" }]], true));
  const abort = new AbortController();
  const aborted = eventsOf(server.client.stream(sessionId, "code", { signal: abort.signal }));
  setTimeout(() => {
    abort.abort(new RangeError("enough"));
  }, 30).unref();
  await expect(aborted).rejects.toThrow("enough");
  const late = eventsOf(server.client.stream(sessionId, "code", { timeoutMs: 30 }));
  await expect(late).rejects.toMatchObject({ code: "timeout" });
});
