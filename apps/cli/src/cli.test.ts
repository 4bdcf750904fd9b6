import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { StandInServer } from "./testing/stand-in-server.ts";
import { TerminalUser, userOf } from "./testing/terminal-user.ts";

describe("execute", () => {
  test("puts the program's output alone on stdout, and what it did on stderr", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    server.answer = { stderr: "careful\n" };
    const call = await user.types(["execute", "--code", "print(6 * 7)"]);
    expect(call).toMatchObject({ exitCode: 0, stdout: "42\n" });
    expect(call.stderr).toMatch(/^↳ starting a microVM\n↳ vm ready in [\d.]+ ms \| .*\ncareful\n$/);
    expect(server.executed[0]).toMatchObject({ command: "print(6 * 7)", timeout: 60 });
    expect(server.keys).toEqual(new Set(["key-1"]));
  });

  test("remembers the session from call to call in a file for its owner only", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    await user.types(["execute", "--code", "1"]);
    const second = await user.types(["execute", "--code", "2"]);
    expect(second.stderr).toMatch(/^↳ session reuse: [\d.]+ ms\n$/);
    expect(new Set(server.executed.map((body) => body["session_id"])).size).toBe(1);
    expect(statSync(join(user.home, ".instavm/sessions.json")).mode & 0o777).toBe(0o600);
  });

  test("says so and starts another session when the remembered one has ended", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    await user.types(["execute", "--code", "1"]);
    server.expireAll();
    const call = await user.types(["execute", "--code", "2"]);
    expect(call).toMatchObject({ exitCode: 0, stdout: "42\n" });
    expect(call.stderr).toContain("has ended; starting another");
  });

  test("leaves a session that was named as it is, and fails when it does not exist", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    const call = await user.types(["execute", "--code", "1", "--session", "00000000-0000-4000-8000-00000000ffff"]);
    expect(call).toMatchObject({ exitCode: 1, stdout: "" });
    expect(call.stderr).toBe("error: There is no such session.\nnext:  Create one.\n");
  });

  test("takes code from a file and from standard input", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    writeFileSync(join(user.home, "a.py"), "print('file')\n");
    await user.types(["execute", "--file", "a.py", "--language", "python", "--timeout", "5"]);
    await user.types(["execute", "-"], { stdin: "print('stdin')\n" });
    expect(server.executed[0]).toMatchObject({ command: "print('file')\n", language: "python", timeout: 5 });
    expect(server.executed[1]).toMatchObject({ command: "print('stdin')\n" });
  });

  test("passes the program's exit code on", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    server.answer = { exit_code: 7, success: false };
    expect(await user.types(["execute", "--code", "exit 7"])).toMatchObject({ exitCode: 7 });
    server.answer = { exit_code: 124, success: false, timed_out: true, context_lost: true };
    const call = await user.types(["execute", "--code", "while True: pass"]);
    expect(call.exitCode).toBe(124);
    expect(call.stderr).toContain("stopped at the time limit");
    expect(call.stderr).toContain("the interpreter ended with its variables");
  });

  test("prints the server's object with --json, and nothing else on stdout", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    const call = await user.types(["execute", "--code", "1", "--json"]);
    const result: unknown = JSON.parse(call.stdout);
    expect(result).toMatchObject({ stdout: "42\n", exit_code: 0, timed_out: false, vm_id: "a1234567890123456789" });
  });

  test("loses none of 20 MiB of output on a pipe", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    server.answer = { stdout: "x".repeat(20 * 1024 * 1024) };
    const call = await user.types(["execute", "--code", "1"]);
    expect(call.stdout.length).toBe(20 * 1024 * 1024);
  });

  test("ends with 130 when it is interrupted while the program runs", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    server.silent = true;
    const call = await user.types(["execute", "--code", "1"], { interruptAfter: "vm ready" });
    expect(call).toMatchObject({ exitCode: 130, stdout: "" });
  });
});

describe("session", () => {
  test("close ends the remembered session; closing again is no error", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    await user.types(["execute", "--code", "1"]);
    const first = await user.types(["session", "close"]);
    expect(first).toMatchObject({ exitCode: 0, stdout: "", stderr: "↳ vm terminated | filesystem destroyed\n" });
    const second = await user.types(["session", "close"]);
    expect(second).toMatchObject({ exitCode: 0, stderr: "↳ no session is open\n" });
  });

  test("ls lists the live sessions and marks the remembered one", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    await user.types(["execute", "--code", "1"]);
    const call = await user.types(["session", "ls"]);
    expect(call.stdout).toMatch(/^ +SESSION +VM +STATUS +STARTED +ENDS\n\* {2}00000000-.* active .*\n$/);
    const json = await user.types(["session", "ls", "--json"]);
    expect(JSON.parse(json.stdout)).toMatchObject({ sandboxes: [{ status: "active" }] });
  });
});

describe("a mistake", () => {
  test.each([
    [["execute"], "expected one of --code, --file and -"],
    [["execute", "--code", "1", "-"], "got 2 of them"],
    [["execute", "--code", "1", "--timeout", "0"], "from 1 to 600"],
    [["execute", "--code", "1", "--language", "cobol"], "python"],
    [["nonsense"], "unknown command"],
  ])("of usage ends with 2: %j", async (args, message) => {
    using user = new TerminalUser();
    const call = await user.types(args);
    expect(call.exitCode).toBe(2);
    expect(call.stderr).toContain(message);
  });

  test("of the file's name names the file", async () => {
    using user = new TerminalUser({ INSTAVM_API_KEY: "key-1" });
    const call = await user.types(["execute", "--file", "none.py"]);
    expect(call.exitCode).toBe(1);
    expect(call.stderr).toMatch(/error: The file none\.py cannot be read: .*\nnext: {2}Check the path/);
  });

  test("of the address says that the server is not there and what to do", async () => {
    using user = new TerminalUser({ INSTAVM_API_KEY: "key-1", INSTAVM_BASE_URL: "http://127.0.0.1:9" });
    const call = await user.types(["execute", "--code", "1"]);
    expect(call.exitCode).toBe(1);
    expect(call.stderr).toMatch(/error: The server at http:\/\/127\.0\.0\.1:9 cannot be reached.*\nnext: /);
  });
});

describe("the key", () => {
  test("comes from the flag before the environment before the config file", async () => {
    await using server = await StandInServer.start();
    using user = new TerminalUser({ INSTAVM_BASE_URL: server.baseUrl });
    writeConfig(user, { auth: { type: "api_key", api_key: "from-config" } });
    await user.types(["session", "ls"]);
    await user.types(["session", "ls"], { env: { INSTAVM_API_KEY: "from-env" } });
    await user.types(["session", "ls", "--api-key", "from-flag"], { env: { INSTAVM_API_KEY: "from-env" } });
    expect([...server.keys]).toEqual(["from-config", "from-env", "from-flag"]);
  });

  test("of a server on this machine is read from its state directory", async () => {
    await using server = await StandInServer.start();
    using user = new TerminalUser({ INSTAVM_BASE_URL: server.baseUrl });
    writeFileSync(join(user.home, "admin-key"), "from-state\n");
    await user.types(["session", "ls"], { env: { INSTAVM_STATE_DIR: user.home } });
    expect([...server.keys]).toEqual(["from-state"]);
  });

  test("of this machine's server is never sent to another machine", async () => {
    using user = new TerminalUser({ INSTAVM_BASE_URL: "http://instavm.invalid" });
    writeFileSync(join(user.home, "admin-key"), "from-state\n");
    const call = await user.types(["session", "ls"], { env: { INSTAVM_STATE_DIR: user.home } });
    expect(call.exitCode).toBe(1);
    expect(call.stderr).toContain("There is no API key for http://instavm.invalid");
  });

  test("is not written anywhere", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    await user.types(["execute", "--code", "1"]);
    expect(readFileSync(join(user.home, ".instavm/sessions.json"), "utf8")).not.toContain("key-1");
  });
});

function writeConfig(user: TerminalUser, profile: unknown): void {
  mkdirSync(join(user.home, ".instavm"), { recursive: true });
  const config = { schema_version: 1, active_profile: "work", profiles: { work: profile } };
  writeFileSync(join(user.home, ".instavm/config.json"), JSON.stringify(config));
}

test("help and version end with 0 on stdout", async () => {
  using user = new TerminalUser();
  expect((await user.types(["--help"])).stdout).toContain('$ instavm execute --code "');
  expect(await user.types(["--version"])).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
  });
});

test("a reader that leaves early is no failure", async () => {
  await using server = await StandInServer.start();
  using user = userOf(server);
  server.answer = { stdout: "line\n".repeat(1_000_000) };
  const line = `"${user.home}/instavm" execute --code 1 2>err | head -n 1; echo "code \${PIPESTATUS[0]}"`;
  const { stdout } = await promisify(execFile)("bash", ["-c", line], {
    cwd: user.home,
    env: { PATH: process.env["PATH"], HOME: user.home, INSTAVM_BASE_URL: server.baseUrl, INSTAVM_API_KEY: "key-1" },
  });
  expect(stdout).toBe("line\ncode 0\n");
  expect(readFileSync(join(user.home, "err"), "utf8")).not.toContain("EPIPE");
});
