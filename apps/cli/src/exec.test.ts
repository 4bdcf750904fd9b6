import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { StandInServer, jsonOf, send } from "./testing/stand-in-server.ts";
import { userOf } from "./testing/terminal-user.ts";

const exit = {
  session_id: "00000000-0000-4000-8000-000000000001",
  vm_id: "a1234567890123456789",
  language: "python",
  success: true,
  exit_code: 0,
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

const task = {
  task_id: "8a6e0804-2bd0-4672-b79d-d97027f9071a",
  execution_id: "8a6e0804-2bd0-4672-b79d-d97027f9071a",
  session_id: exit.session_id,
  vm_id: null,
  status: "running",
  is_complete: false,
  language: null,
  exit_code: null,
  timed_out: false,
  truncated: false,
  execution_time: null,
  cpu_time: null,
  created_at: "2026-01-02T03:04:05Z",
  ended_at: null,
  detail: null,
  serialized_stdout: "",
  serialized_stderr: "",
};

function sendEvent(response: ServerResponse, event: string, data: unknown): void {
  response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}

/** Answers every execute with these events. */
function streaming(server: StandInServer, events: readonly (readonly [string, unknown])[]): void {
  server.respond = ({ path }, response) => {
    if (path !== "/execute") return false;
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const [event, data] of events) sendEvent(response, event, data);
    response.end();
    return true;
  };
}

describe("exec", () => {
  test("prints output and the last value, says what cannot be printed, and ends with the program's code", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    streaming(server, [
      ["stdout", { text: "out\n" }],
      ["stderr", { text: "careful\n" }],
      ["result", { type: "image/png", data: "aGk=", display: 0, is_result: false }],
      ["result", { type: "text/html", data: "<b>42</b>", display: 1, is_result: true }],
      ["result", { type: "text/plain", data: "42", display: 1, is_result: true }],
      ["exit", { ...exit, exit_code: 7, success: false, timed_out: true }],
    ]);
    const call = await user.types(["exec", "--cmd", "code", "--language", "bash", "--timeout", "2.5"]);
    expect(call).toMatchObject({ exitCode: 7, stdout: "out\n42\n" });
    expect(call.stderr).toContain("careful\n↳ image/png was displayed; --json has it\n↳ stopped at the time limit");
    const sent = server.received.at(-1);
    expect(sent === undefined ? {} : jsonOf(sent)).toMatchObject({ command: "code", language: "bash", timeout: 2.5 });
  });

  test("prints output before the program has ended", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    server.respond = ({ path }, response) => {
      if (path !== "/execute") return false;
      response.writeHead(200, { "content-type": "text/event-stream" });
      sendEvent(response, "stderr", { text: "first\n" });
      return true;
    };
    // The interrupt is only sent when the first output is there; the stand-in never ends the stream.
    const call = await user.types(["exec", "--cmd", "code"], { interruptAfter: "first" });
    expect(call).toMatchObject({ exitCode: 130, stdout: "" });
  });

  test("takes code from a file and from standard input", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    streaming(server, [["exit", exit]]);
    writeFileSync(join(user.home, "a.py"), "print('file')\n");
    await user.types(["exec", "a.py"]);
    await user.types(["exec", "-"], { stdin: "print('stdin')\n" });
    const commands = server.received.filter(({ path }) => path === "/execute").map((sent) => jsonOf(sent)["command"]);
    expect(commands).toEqual(["print('file')\n", "print('stdin')\n"]);
  });

  test("prints the server's object with --json", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    server.answer = { exit_code: 3, success: false };
    const call = await user.types(["exec", "--cmd", "code", "--json"]);
    expect(call.exitCode).toBe(3);
    expect(JSON.parse(call.stdout)).toMatchObject({ exit_code: 3, language: "python", results: [] });
  });

  test("ends with the server's error when the stream does", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    const error = { detail: "The VM ended.", code: "vm_lost", next: "Call again.", request_id: "r" };
    streaming(server, [
      ["stdout", { text: "half\n" }],
      ["error", error],
    ]);
    const call = await user.types(["exec", "--cmd", "code"]);
    expect(call).toMatchObject({ exitCode: 1, stdout: "half\n" });
    expect(call.stderr).toContain("error: The VM ended.\nnext:  Call again.\n");
  });

  test("ends the program when its reader has left", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    const { promise: left, resolve } = Promise.withResolvers<boolean>();
    server.respond = ({ path }, response) => {
      if (path !== "/execute") return false;
      response.writeHead(200, { "content-type": "text/event-stream" });
      const timer = setInterval(() => sendEvent(response, "stdout", { text: "y\n".repeat(10_000) }), 5);
      response.once("close", () => {
        clearInterval(timer);
        resolve(true);
      });
      return true;
    };
    const line = `"${user.home}/instavm" exec --cmd yes 2>err | head -n 1; echo "code \${PIPESTATUS[0]}"`;
    const env = { PATH: process.env["PATH"], HOME: user.home, INSTAVM_BASE_URL: server.baseUrl, INSTAVM_API_KEY: "k" };
    const { stdout } = await promisify(execFile)("bash", ["-c", line], { cwd: user.home, env, timeout: 25_000 });
    expect(stdout).toBe("y\ncode 0\n");
    expect(await left).toBe(true);
  });
});

describe("exec in the background", () => {
  test("prints the task's id alone on stdout", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    server.respond = ({ path }, response) => {
      if (path === "/execute_async") send(response, 200, task);
      return path === "/execute_async";
    };
    const call = await user.types(["exec", "--async", "--cmd", "code"]);
    expect(call).toMatchObject({ exitCode: 0, stdout: `${task.task_id}\n` });
    expect(call.stderr).toContain(`instavm exec result ${task.task_id}`);
  });

  test("result waits for the end and passes output and exit code on", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    const ended = { ...task, status: "completed", is_complete: true, exit_code: 9 };
    server.respond = (_, response) => {
      const isOver = server.received.length > 2;
      send(response, 200, isOver ? { ...ended, serialized_stdout: "out\n", serialized_stderr: "err\n" } : task);
      return true;
    };
    const call = await user.types(["exec", "result", task.task_id, "--poll-interval", "0.1"]);
    expect(call).toMatchObject({ exitCode: 9, stdout: "out\n", stderr: "err\n" });
    const json = await user.types(["exec", "result", task.task_id, "--json"]);
    expect(JSON.parse(json.stdout)).toMatchObject({ task_id: task.task_id, serialized_stdout: "out\n", exit_code: 9 });
  });

  test("result says when the code is lost", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    server.respond = (_, response) => {
      send(response, 200, { ...task, status: "lost", is_complete: true, detail: "The VM died meanwhile." });
      return true;
    };
    const call = await user.types(["exec", "result", task.task_id]);
    expect(call).toMatchObject({
      exitCode: 1,
      stdout: "",
      stderr: "error: The VM died meanwhile.\nnext:  Run it again.\n",
    });
  });
});
