import type { ServerResponse } from "node:http";
import { expect, test } from "vitest";
import type { Command, CommandOutput, Commands } from "./index.ts";
import { ScriptedServer, sendError, sendJson } from "./testing/scripted-server.ts";
import type { Answerer, Received } from "./testing/scripted-server.ts";
import { executeAnswer, sessionAnswer as session, sessionId, vmId } from "./testing/sample-answers.ts";

const running = {
  id: 3,
  command_id: 3,
  vm_id: vmId,
  tag: "web",
  command: "sleep 9",
  pid: 77,
  is_running: true,
  stdin_is_open: true,
  started_at: "2026-01-02T03:04:05Z",
  ended_at: null,
  output_bytes: 0,
  output_start: 0,
  truncated: false,
  exit_code: null,
  signal: null,
  timed_out: false,
  out_of_memory: false,
  execution_time: null,
  cpu_time: null,
};
const ended = {
  ...running,
  is_running: false,
  stdin_is_open: false,
  ended_at: "2026-01-02T03:04:09Z",
  exit_code: 143,
  signal: 15,
  execution_time: 4,
  cpu_time: 0.1,
};

/** A session with a VM, of whose commands `answer` says all. */
async function serverOf(answer: Answerer): Promise<ScriptedServer> {
  return await ScriptedServer.start((received, response) => {
    if (received.path.startsWith("/v1/sessions/session/")) sendJson(response, session);
    else answer(received, response);
  });
}

function commandsOf(server: ScriptedServer): Commands {
  return server.client.commands(sessionId);
}

function jsonOf(received: Received | undefined): unknown {
  return JSON.parse(new TextDecoder().decode(received?.body));
}

test("a command is started with what was said, and nothing else", async () => {
  await using server = await serverOf((_, response) => sendJson(response, running));
  const commands = commandsOf(server);
  const command = await commands.start("sleep 9", { tag: "web", stdin: true, timeoutS: 20, env: { A: "b" } });
  expect(command.info).toMatchObject({ commandId: 3, vmId, tag: "web", isRunning: true, exitCode: undefined });
  expect(server.received.at(-1)).toMatchObject({ method: "POST", path: `/v1/vms/${vmId}/commands` });
  expect(jsonOf(server.received.at(-1))).toEqual({
    command: "sleep 9",
    tag: "web",
    stdin: true,
    timeout: 20,
    env: { A: "b" },
  });
  await commands.start(["ls", "-l"], { cwd: "/tmp", user: "nobody" });
  expect(jsonOf(server.received.at(-1))).toEqual({ argv: ["ls", "-l"], cwd: "/tmp", user: "nobody" });
});

test("commands are listed by their tag and looked at by their id", async () => {
  await using server = await serverOf(({ path }, response) =>
    sendJson(response, path.includes("?tag") ? [running, ended] : ended),
  );
  const commands = commandsOf(server);
  expect(await commands.list({ tag: "a b" })).toMatchObject([{ isRunning: true }, { exitCode: 143, signal: 15 }]);
  expect(server.received.at(-1)?.path).toBe(`/v1/vms/${vmId}/commands?tag=a+b`);
  expect(await commands.get(3)).toMatchObject({ executionTimeS: 4 });
});

test("stdin is written as bytes and closed; a signal is sent by name or number", async () => {
  await using server = await serverOf(({ path }, response) =>
    sendJson(response, path.includes("/stdin") ? { size: 2 } : ended),
  );
  const command = await commandsOf(server).attach(3);
  await command.stdin.write("hü");
  expect(server.received.at(-1)).toMatchObject({
    path: `/v1/vms/${vmId}/commands/3/stdin`,
    contentType: "application/octet-stream",
    body: new TextEncoder().encode("hü"),
  });
  await command.stdin.close();
  expect(server.received.at(-1)?.path).toBe(`/v1/vms/${vmId}/commands/3/stdin?close=true`);
  await command.kill();
  expect(jsonOf(server.received.at(-1))).toEqual({ signal: "SIGTERM" });
  expect(await command.kill("SIGKILL")).toMatchObject({ isRunning: false });
  await command.kill(10);
  expect(jsonOf(server.received.at(-1))).toEqual({ signal: 10 });
});

test("its end is waited for, in several requests, until the deadline", async () => {
  let looks = 0;
  await using server = await serverOf((_, response) => {
    looks += 1;
    setTimeout(() => sendJson(response, looks < 4 ? running : ended), 20);
  });
  const command = await commandsOf(server).attach(3);
  expect(await command.wait()).toMatchObject({ exitCode: 143 });
  expect(server.received.at(-1)?.path).toBe(`/v1/vms/${vmId}/commands/3?wait=25`);
  looks = -1000;
  await expect(command.wait({ timeoutMs: 50 })).rejects.toMatchObject({
    code: "timeout",
    message: "Command 3 still runs after 50 ms; it runs on.",
  });
  const abort = new AbortController();
  const waiting = command.wait({ signal: abort.signal });
  abort.abort(new RangeError("enough"));
  await expect(waiting).rejects.toThrow("enough");
});

type Event = readonly [string, unknown];

/** Answers each request for output with the next of these, the connection broken after those that do not end. */
async function outputServer(...answers: readonly (readonly Event[])[]): Promise<ScriptedServer> {
  let asked = 0;
  return await serverOf(({ path }, response) => {
    if (!path.includes("/output")) return sendJson(response, running);
    const events = answers[asked] ?? [];
    asked += 1;
    return sendEvents(response, events);
  });
}

function sendEvents(response: ServerResponse, events: readonly Event[]): void {
  response.writeHead(200, { "content-type": "text/event-stream" });
  for (const [name, data] of events) response.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  response.write(": alive\n\n");
  if (events.some(([name]) => ["exit", "more", "error"].includes(name))) response.end();
  else setTimeout(() => response.destroy(), 20);
}

async function all(output: AsyncIterable<CommandOutput>): Promise<readonly CommandOutput[]> {
  const came: CommandOutput[] = [];
  for await (const each of output) came.push(each);
  return came;
}

function text(value: string, offset: number): unknown {
  return { text: value, offset, next_offset: offset + value.length };
}

async function attached(server: ScriptedServer, offset = 0): Promise<Command> {
  return await commandsOf(server).attach(3, { offset });
}

test("output is read to the exit, and on where a connection broke", async () => {
  await using server = await outputServer(
    [
      ["position", { offset: 0, dropped_bytes: 0 }],
      ["stdout", text("abc", 0)],
    ],
    [["error", { detail: "Stopping.", code: "unavailable", next: "-", request_id: "r" }]],
    [
      ["position", { offset: 3, dropped_bytes: 0 }],
      ["stderr", text("de", 3)],
      ["of a newer server", {}],
      ["exit", ended],
    ],
  );
  expect(await all(await attached(server))).toMatchObject([
    { type: "stdout", text: "abc", offset: 0, nextOffset: 3 },
    { type: "stderr", text: "de", offset: 3, nextOffset: 5 },
    { type: "exit", exitCode: 143, signal: 15 },
  ]);
  const asked = server.received.map(({ path }) => path).filter((path) => path.includes("/output"));
  expect(asked).toEqual([0, 3, 3].map((offset) => `/v1/vms/${vmId}/commands/3/output?offset=${offset}`));
});

test("a reader hears of what it missed", async () => {
  await using server = await outputServer([
    ["position", { offset: 10, dropped_bytes: 10 }],
    ["stdout", text("k", 10)],
    ["position", { offset: 500, dropped_bytes: 489 }],
    ["exit", ended],
  ]);
  expect(await all(await attached(server))).toMatchObject([
    { type: "dropped", bytes: 10, offset: 10 },
    { type: "stdout", text: "k" },
    { type: "dropped", bytes: 489, offset: 500 },
    { type: "exit" },
  ]);
});

test("what is there now can be read, from the end, or from an offset of one's own", async () => {
  const more: readonly Event[] = [
    ["position", { offset: 5, dropped_bytes: 0 }],
    ["stdout", text("x", 5)],
    ["more", running],
  ];
  await using server = await outputServer(more, more);
  const command = await attached(server, 5);
  expect(await all(command.output({ follow: false }))).toMatchObject([{ type: "stdout", text: "x" }]);
  expect(server.received.at(-1)?.path).toBe(`/v1/vms/${vmId}/commands/3/output?offset=5&follow=false`);
  await all(command.output({ offset: 0, fromEnd: true }));
  expect(server.received.at(-1)?.path).toBe(`/v1/vms/${vmId}/commands/3/output?offset=0&from_end=true`);
});

test("a stream that breaks again and again, or says an error, is one", async () => {
  await using server = await outputServer();
  await expect(all(await attached(server))).rejects.toMatchObject({ code: "unavailable" });
  const asked = server.received.filter(({ path }) => path.includes("/output"));
  expect(asked.length).toBe(7);
  const error = { detail: "Gone.", code: "vm_lost", next: "-", request_id: "r" };
  await using lost = await outputServer([["error", error]]);
  await expect(all(await attached(lost))).rejects.toMatchObject({ code: "vm_lost" });
});

test("its end is waited for also while the server is away for a moment", async () => {
  let looks = 0;
  await using server = await serverOf((_, response) => {
    looks += 1;
    if (looks > 2 && looks < 8) response.writeHead(502).end("<html>");
    else sendJson(response, looks < 8 ? running : ended);
  });
  const command = await commandsOf(server).attach(3);
  expect(await command.wait()).toMatchObject({ exitCode: 143 });
  const abort = new AbortController();
  looks = 2;
  const waiting = command.wait({ signal: abort.signal });
  setTimeout(() => abort.abort(new RangeError("enough")), 100).unref();
  await expect(waiting).rejects.toThrow("enough");
});

test("leaving its block ends a command; one that is forgotten already is no error", async () => {
  await using server = await serverOf(({ method }, response) => {
    if (method === "DELETE") sendError(response, 404, "command_not_found");
    else sendJson(response, running);
  });
  {
    await using command = await commandsOf(server).start("sleep 9");
    expect(command.commandId).toBe(3);
  }
  expect(server.received.at(-1)).toMatchObject({ method: "DELETE", path: `/v1/vms/${vmId}/commands/3` });
});

test("contexts are made, listed, used, restarted, interrupted and deleted", async () => {
  const context = {
    id: "python-1",
    context_id: "python-1",
    vm_id: vmId,
    language: "python",
    cwd: "/root",
    is_busy: false,
  };
  await using server = await serverOf(({ path, method }, response) => {
    if (path === "/execute") sendJson(response, executeAnswer);
    else if (method === "DELETE") sendJson(response, { message: "Gone.", ...context });
    else sendJson(response, method === "GET" && path.endsWith("/contexts") ? [context] : context);
  });
  const contexts = server.client.contexts(sessionId);
  const { contextId } = await contexts.create({ cwd: "/root" });
  expect(jsonOf(server.received.at(-1))).toEqual({ language: "python", cwd: "/root" });
  expect(await contexts.list()).toEqual([{ contextId, vmId, language: "python", cwd: "/root", isBusy: false }]);
  expect(await contexts.get(contextId)).toMatchObject({ contextId });
  expect(await contexts.run(contextId, "print(42)", { timeoutS: 5 })).toMatchObject({ stdout: "42\n" });
  expect(jsonOf(server.received.at(-1))).toEqual({
    session_id: sessionId,
    command: "print(42)",
    context_id: "python-1",
    timeout: 5,
  });
  await contexts.interrupt(contextId);
  await contexts.restart(contextId);
  await contexts.delete(contextId);
  const changed = server.received.filter(({ path }) => path.includes("/contexts/") && !path.includes("/session/"));
  expect(changed.map(({ method, path }) => `${method} ${path.replace(`/v1/vms/${vmId}`, "")}`)).toEqual([
    "GET /contexts/python-1",
    "POST /contexts/python-1/interrupt",
    "POST /contexts/python-1/restart",
    "DELETE /contexts/python-1",
  ]);
});
