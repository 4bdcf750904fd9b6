import { writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { expect, test } from "vitest";
import { StandInServer, jsonOf, send } from "./testing/stand-in-server.ts";
import { userOf } from "./testing/terminal-user.ts";

const sessionId = "0b5c6a0e-3f63-4d9b-8c43-0c7a3f5e2a11";
const vmId = "q7v2kd0w9x3m1zr8tj5c";
const session = {
  id: sessionId,
  session_id: sessionId,
  vm_id: vmId,
  status: "active",
  created_at: "2026-01-02T03:04:05Z",
  expires_at: "2026-01-02T03:09:05Z",
  vm_alive: true,
  memory_mb: 512,
  vcpu_count: 2,
  vm_lifetime_seconds: 300,
  metadata: {},
};
const running = {
  id: 3,
  command_id: 3,
  vm_id: vmId,
  tag: null,
  command: "sleep 9\necho x",
  pid: 77,
  is_running: true,
  stdin_is_open: false,
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
const ended = { ...running, command_id: 4, tag: "a\u{1b}[31m", is_running: false, exit_code: 7 };
const killed = { ...ended, exit_code: 143, signal: 15, tag: null };

function sendEvents(response: ServerResponse, events: readonly (readonly [string, unknown])[]): void {
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.end(events.map(([name, data]) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`).join(""));
}

/** A server whose one session has these commands. */
async function commandServer(): Promise<StandInServer> {
  const server = await StandInServer.start();
  server.respond = ({ path, method }, response) => {
    if (path === "/v1/sessions/session") return false;
    if (path.startsWith("/v1/sessions/session/")) send(response, 200, session);
    else if (path.includes("/output")) {
      const last = path.includes("follow=false") ? "more" : "exit";
      sendEvents(response, [
        ["position", { offset: 5, dropped_bytes: 5 }],
        ["stdout", { text: "out\n", offset: 5, next_offset: 9 }],
        ["stderr", { text: "err\n", offset: 9, next_offset: 13 }],
        [last, ended],
      ]);
    } else if (path.endsWith("/signal")) send(response, 200, killed);
    else if (path.endsWith("/commands") && method === "GET") send(response, 200, [running, ended, killed]);
    else if (path.includes("/commands?tag")) send(response, 200, []);
    else send(response, 200, running);
    return true;
  };
  return server;
}

test("exec --detach starts a program in the background and prints its id alone on stdout", async () => {
  await using server = await commandServer();
  using user = userOf(server);
  const call = await user.types(["exec", "-d", "--tag", "web", "-t", "60", "-c", "sleep 9"]);
  expect(call).toMatchObject({ exitCode: 0, stdout: "3\n" });
  expect(call.stderr).toContain("instavm commands logs 3 --follow shows what it prints");
  const sent = server.received.at(-1);
  expect(sent).toMatchObject({ method: "POST", path: `/v1/vms/${vmId}/commands` });
  expect(sent === undefined ? {} : jsonOf(sent)).toEqual({ command: "sleep 9", tag: "web", timeout: 60 });
});

test("exec --detach runs each language with its own program", async () => {
  await using server = await commandServer();
  using user = userOf(server);
  const sent = async (...args: readonly string[]): Promise<unknown> => {
    await user.types(["exec", "--detach", "--session", sessionId, ...args]);
    const last = server.received.at(-1);
    return last === undefined ? undefined : jsonOf(last);
  };
  for (const name of ["a.py", "a.mjs", "a.sh"]) writeFileSync(join(user.home, name), "code");
  expect(await sent("a.py")).toEqual({ argv: ["python3", "-uc", "code"] });
  expect(await sent("a.mjs")).toEqual({ argv: ["node", "-e", "code"] });
  expect(await sent("a.sh")).toEqual({ command: "code" });
  expect(await sent("-l", "bash", "a.py")).toEqual({ command: "code" });
  expect(await sent("-l", "javascript", "-c", "1")).toEqual({ argv: ["node", "-e", "1"] });
});

test.each([
  [["exec", "-d", "--async", "-c", "1"], "cannot be used with"],
  [["exec", "--tag", "x", "-c", "1"], "--tag needs --detach"],
  [["commands", "logs", "0"], "whole number from 1"],
  [["commands", "kill", "3", "--signal", "NO"], "SIGHUP, SIGINT"],
])("what cannot be meant is refused: %j", async (args, message) => {
  await using server = await commandServer();
  using user = userOf(server);
  expect(await user.types(args)).toMatchObject({ exitCode: 2, stderr: expect.stringContaining(message) });
  expect(server.received).toEqual([]);
});

test("commands ls shows what runs and what ended, without what a terminal would obey", async () => {
  await using server = await commandServer();
  using user = userOf(server);
  const call = await user.types(["commands", "ls", "--session", sessionId]);
  expect(call.stdout.split("\n").slice(1)).toEqual([
    "3   running    2026-01-02T03:04:05Z  -       sleep 9",
    "4   exit 7     2026-01-02T03:04:05Z  a\u{fffd}[31m  sleep 9",
    "4   signal 15  2026-01-02T03:04:05Z  -       sleep 9",
    "",
  ]);
  const json = await user.types(["commands", "ls", "-s", sessionId, "--json"]);
  expect(JSON.parse(json.stdout)).toEqual({ commands: [running, ended, killed] });
  const none = await user.types(["commands", "ls", "-s", sessionId, "--tag", "x"]);
  expect(none).toMatchObject({ exitCode: 0, stdout: "", stderr: expect.stringContaining("there is no command") });
});

test("commands logs prints what is there, and to the end with --follow, with the exit code", async () => {
  await using server = await commandServer();
  using user = userOf(server);
  const now = await user.types(["commands", "logs", "3", "-s", sessionId, "--offset", "5"]);
  expect(now).toMatchObject({ exitCode: 0, stdout: "out\n", stderr: "↳ 5 bytes of output are gone\nerr\n" });
  expect(server.received.at(-1)?.path).toBe(`/v1/vms/${vmId}/commands/3/output?offset=5&follow=false`);
  const followed = await user.types(["commands", "logs", "3", "-s", sessionId, "-f"]);
  expect(followed).toMatchObject({ exitCode: 7, stdout: "out\n" });
  const json = await user.types(["commands", "logs", "3", "-s", sessionId, "-f", "--json"]);
  expect(
    json.stdout
      .trim()
      .split("\n")
      .map((line): unknown => JSON.parse(line)),
  ).toEqual([
    { type: "dropped", dropped_bytes: 5, offset: 5 },
    { type: "stdout", text: "out\n", offset: 5, next_offset: 9 },
    { type: "stderr", text: "err\n", offset: 9, next_offset: 13 },
    { type: "exit", exit_code: 7, signal: null, timed_out: false, out_of_memory: false },
  ]);
});

test("commands kill sends a signal by any of its names", async () => {
  await using server = await commandServer();
  using user = userOf(server);
  for (const [typed, sent] of [
    ["KILL", "SIGKILL"],
    ["sigint", "SIGINT"],
    ["9", 9],
  ] as const) {
    const call = await user.types(["commands", "kill", "3", "-s", sessionId, "--signal", typed]);
    expect(call).toMatchObject({ exitCode: 0, stderr: "↳ command 3 has ended\n" });
    const last = server.received.at(-1);
    expect(last === undefined ? {} : jsonOf(last)).toEqual({ signal: sent });
  }
});

test("the session of the last call is meant, which needs to have been one", async () => {
  await using server = await commandServer();
  using user = userOf(server);
  const call = await user.types(["commands", "ls"]);
  expect(call).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("next:  Name one with --session") });
  await user.types(["exec", "-d", "-c", "sleep 9"]);
  expect(await user.types(["commands", "ls", "--json"])).toMatchObject({ exitCode: 0 });
});
