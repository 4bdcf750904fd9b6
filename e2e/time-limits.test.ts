import type { ExecuteResult } from "instavm";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RealServer } from "./support/real-server.ts";
import { TestSession } from "./support/test-session.ts";

let server: RealServer;

beforeAll(async () => {
  server = await RealServer.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** Runs code that would go on; the answer must come before the caller's own patience ends. */
async function late(session: TestSession, language: "python" | "bash", code: string): Promise<ExecuteResult> {
  const timeoutS = 2;
  const result = await session.run(code, { language, timeoutS, timeoutMs: timeoutS * 1000 });
  expect(result).toMatchObject({ exitCode: 124, timedOut: true, success: false, language });
  return result;
}

/** Command lines of what runs in the VM and has this text in it. */
async function running(session: TestSession, text: string): Promise<string> {
  const [first = "", ...rest] = text;
  return (await session.bash(`ps -eo stat=,args= | grep -v '^Z' | grep '[${first}]${rest.join("")}'`)).stdout;
}

test("an endless loop in Python is interrupted; its state and what it printed are kept", async () => {
  await using session = await TestSession.open(server);
  await session.python("kept = 41");
  const result = await late(session, "python", "print('begun')\nwhile True: kept_too = 1");
  expect(result).toMatchObject({ stdout: "begun\n", contextLost: false });
  expect(result.stderr).toContain("KeyboardInterrupt");
  expect(await session.python("kept + kept_too")).toMatchObject({ stdout: "42\n", exitCode: 0 });
});

test("a loop that swallows every KeyboardInterrupt is ended all the same", async () => {
  await using session = await TestSession.open(server);
  const loop = "while True:\n  try:\n    while True: x = 1\n  except BaseException: pass";
  const result = await late(session, "python", `print('begun')\n${loop}`);
  expect(result).toMatchObject({ stdout: "begun\n" });
  expect(await session.python("print('ok')")).toMatchObject({ stdout: "ok\n", exitCode: 0 });
});

test("sleeping Python is woken at the limit", async () => {
  await using session = await TestSession.open(server);
  const result = await late(session, "python", "import time\nprint('begun')\ntime.sleep(600)");
  expect(result).toMatchObject({ stdout: "begun\n", contextLost: false });
  expect(await session.python("print('ok')")).toMatchObject({ stdout: "ok\n" });
});

test("a call that Python cannot interrupt is ended with its interpreter", async () => {
  await using session = await TestSession.open(server);
  await late(session, "python", "import ctypes\nctypes.PyDLL(None).sleep(600)");
  expect(await session.python("print('ok')")).toMatchObject({ stdout: "ok\n" });
});

test("what a Python cell started is dead after its limit, also what left its session", async () => {
  await using session = await TestSession.open(server);
  await late(session, "python", "import subprocess\nsubprocess.run(['sleep', '7001'])");
  await late(
    session,
    "python",
    "import subprocess, time\nsubprocess.Popen(['sleep', '7002'], start_new_session=True)\ntime.sleep(600)",
  );
  await late(session, "python", "!sleep 7003");
  expect(await running(session, "sleep 700")).toBe("");
});

test("Bash is ended with everything that it started; what it printed is kept", async () => {
  await using session = await TestSession.open(server);
  const result = await late(session, "bash", "echo begun; setsid sleep 7001 & (sleep 7002 &); sleep 7003");
  expect(result).toMatchObject({ stdout: "begun\n" });
  expect(await running(session, "sleep 700")).toBe("");
  expect(await session.bash("echo ok")).toMatchObject({ stdout: "ok\n", exitCode: 0, timedOut: false });
});

test("Bash that ignores signals and burns time is ended", async () => {
  await using session = await TestSession.open(server);
  expect(await late(session, "bash", "trap '' TERM INT HUP; echo begun; while :; do :; done")).toMatchObject({
    stdout: "begun\n",
  });
  expect(await session.bash("echo ok")).toMatchObject({ stdout: "ok\n" });
});

test("a background child holds no call, and lives on", async () => {
  await using session = await TestSession.open(server);
  const options = { timeoutS: 60 };
  expect(await session.bash("sleep 7001 & echo hi", options)).toMatchObject({ stdout: "hi\n", exitCode: 0 });
  expect(await session.python("import subprocess\nsubprocess.Popen(['sleep', '7002']).pid > 0")).toMatchObject({
    stdout: "True\n",
  });
  const living = await running(session, "sleep 700");
  expect(living).toContain("sleep 7001");
  expect(living).toContain("sleep 7002");
});

test("a cell that waits behind another keeps its own limit", async () => {
  await using session = await TestSession.open(server);
  const first = session.python("import time; time.sleep(6); print('first')", { timeoutS: 60 });
  expect(await late(session, "python", "print('never')")).toMatchObject({ stdout: "" });
  expect(await first).toMatchObject({ stdout: "first\n", exitCode: 0 });
});
