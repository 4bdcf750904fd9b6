import { InstaVmError } from "instavm";
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

/** Both languages answer. */
async function expectUsable(session: TestSession): Promise<void> {
  expect(await session.python("print('ok')")).toMatchObject({ stdout: "ok\n", exitCode: 0 });
  expect(await session.bash("echo ok")).toMatchObject({ stdout: "ok\n", exitCode: 0 });
}

test("a traceback is in stderr, with exit code 1, and the state is kept", async () => {
  await using session = await TestSession.open(server);
  const result = await session.python("kept = 1\ndef f():\n    return 1 / 0\nf()");
  expect(result).toMatchObject({ exitCode: 1, success: false, stdout: "", contextLost: false });
  expect(result.stderr).toMatch(/^Traceback \(most recent call last\):\n/);
  expect(result.stderr).toMatch(/line 3, in f\n {4}return 1 \/ 0\n/);
  expect(result.stderr).toMatch(/\nZeroDivisionError: division by zero\n$/);
  expect(await session.python("kept")).toMatchObject({ stdout: "1\n" });
  expect(await session.python("def f(): f()\nf()")).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining("RecursionError"),
  });
  expect(await session.python("print(")).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining("SyntaxError"),
  });
  await expectUsable(session);
});

test.each([
  ["exit()", 0, ""],
  ["quit(4)", 4, ""],
  ["import sys; sys.exit(3)", 3, ""],
  ["raise SystemExit('bye')", 1, "bye\n"],
])("%s ends the interpreter with exit code %i; the next cell gets a new one", async (code, exitCode, stderr) => {
  await using session = await TestSession.open(server);
  expect(await session.python(`gone = 1\nprint('before')\n${code}`)).toMatchObject({
    exitCode,
    stderr,
    stdout: "before\n",
    contextLost: true,
    timedOut: false,
  });
  expect(await session.python("gone")).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining("NameError"),
  });
  await expectUsable(session);
});

test.each([
  ["import os; os._exit(7)", 7, "ended with code 7"],
  ["import os; os.kill(os.getpid(), 9)", 137, "was ended by signal 9"],
  ["import ctypes; ctypes.string_at(0)", 139, "was ended by signal 11"],
  ["!kill -9 $PPID", 137, "was ended by signal 9"],
])("%s: the result says that the interpreter is lost; the next cell gets a new one", async (code, exitCode, how) => {
  await using session = await TestSession.open(server);
  const result = await session.python(`print('before')\n${code}`);
  expect(result).toMatchObject({ exitCode, stdout: "before\n", contextLost: true, timedOut: false });
  expect(result.stderr).toContain(`InterpreterLost: the interpreter ${how}`);
  await expectUsable(session);
});

test("kill -9 of the interpreter from Bash, idle and busy: the next cell gets a new one", async () => {
  await using session = await TestSession.open(server);
  await session.python("gone = 1");
  expect(await session.bash("pkill -9 -f 'driver[.]py'; echo $?")).toMatchObject({ stdout: "0\n" });
  expect(await session.python("gone")).toMatchObject({ exitCode: 1 });
  await expectUsable(session);
  const busy = session.python("print('before', flush=True)\nimport time; time.sleep(50)");
  await session.bash("until pkill -9 -f 'driver[.]py'; do :; done; true");
  const result = await busy;
  expect(result).toMatchObject({ exitCode: 137, contextLost: true });
  expect(result.stderr).toContain("InterpreterLost");
  await expectUsable(session);
});

test("a short limit gets a new interpreter too, if not with the first call", async () => {
  await using session = await TestSession.open(server);
  await session.python("exit()");
  // Under emulation an interpreter starts for longer than a call of one second may take.
  await expect
    .poll(async () => (await session.python("print('ok')", { timeoutS: 1 })).stdout, { timeout: 60_000, interval: 10 })
    .toBe("ok\n");
});

test("an interpreter that closed its own streams has them again in the next cell", async () => {
  await using session = await TestSession.open(server);
  await session.python("kept = 1\nimport os; os.close(1); os.close(2)");
  expect(await session.python("import sys; print('out'); print('err', file=sys.stderr); kept")).toMatchObject({
    stdout: "out\n1\n",
    stderr: "err\n",
    exitCode: 0,
  });
  await session.python("import os; os.closerange(3, 1000)");
  await expectUsable(session);
});

test.each([
  ["that goes to the background", ":(){ :|:& };:"],
  ["that waits for its children", ":(){ :|: ; };:"],
])("a fork bomb in Bash %s leaves the session usable", async (_kind, bomb) => {
  await using session = await TestSession.open(server);
  const result = await session.bash(bomb, { timeoutS: 5 });
  expect(result.timedOut || result.exitCode === 0).toBe(true);
  await expectUsable(session);
});

test.each([
  ["that gives up at the limit of processes", "import os\nwhile True: os.fork()"],
  ["that never gives up", "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"],
])("a fork bomb in Python %s ends at its time limit and leaves the session usable", async (_kind, bomb) => {
  await using session = await TestSession.open(server);
  // A VM with all its processes busy may be late to say that it stopped them; then the error says that.
  const ended = await session.python(bomb, { timeoutS: 5 }).then(
    ({ timedOut }) => (timedOut ? "timed out" : "ended"),
    (error: unknown) => (error instanceof InstaVmError ? error.code : error),
  );
  expect(["timed out", "gateway_timeout"]).toContain(ended);
  await expectUsable(session);
  const left = await session.bash("ps -e -o stat=,args= | grep -v '^Z' | grep -c '[d]river.py'", { timeoutS: 60 });
  expect(left).toMatchObject({ stdout: "1\n" });
});

test("Python that eats all memory is ended, the result says so, and the session goes on", async () => {
  await using session = await TestSession.open(server);
  const result = await session.python("all = []\nwhile True: all.append(bytearray(10_000_000))", { timeoutS: 120 });
  expect(result).toMatchObject({ exitCode: 137, outOfMemory: true, contextLost: true, timedOut: false });
  expect(result.stderr).toContain("memory");
  await expectUsable(session);
});

test("a program that eats all memory is ended alone: the interpreter beside it keeps its state", async () => {
  await using session = await TestSession.open(server);
  await session.python("kept = 5");
  const eater = "python3 -c 'all = []\nwhile True: all.append(bytearray(10_000_000))'";
  const child = await session.bash(`${eater}; echo "ended with $?"`, { timeoutS: 120 });
  expect(child).toMatchObject({ stdout: "ended with 137\n", outOfMemory: true, exitCode: 0 });
  expect(await session.bash(eater, { timeoutS: 120 })).toMatchObject({ exitCode: 137, outOfMemory: true });
  expect(await session.python("kept")).toMatchObject({ stdout: "5\n", contextLost: false });
  await expectUsable(session);
});

test("files that fill every file system in memory leave the session usable", async () => {
  await using session = await TestSession.open(server);
  const places = "$(awk '$3 ~ /tmpfs/ {print $2}' /proc/mounts)";
  const filled = await session.bash(`for place in ${places}; do head -c 2G /dev/zero > $place/all; echo $place; done`);
  expect(filled).toMatchObject({ exitCode: 0, outOfMemory: false, stdout: "/dev\n/dev/shm\n/run\n" });
  expect(filled.stderr).toContain("No space left on device");
  await expectUsable(session);
});

test("a full disk is the program's error, not the session's", async () => {
  await using session = await TestSession.open(server);
  const result = await session.bash("fallocate -l 1T /app/all || df -h / >&2; exit 5", { timeoutS: 60 });
  expect(result.exitCode).toBe(5);
  expect(result.stderr).toMatch(/No space left|too large/);
  await expectUsable(session);
});

test("stdin is at its end", async () => {
  await using session = await TestSession.open(server);
  expect(await session.bash("cat; read x; echo $?")).toMatchObject({ stdout: "1\n" });
  expect(await session.bash("test -t 0; echo $?")).toMatchObject({ stdout: "1\n" });
  expect(await session.python("import sys; print(repr(sys.stdin.read()))")).toMatchObject({ stdout: "''\n" });
  expect(await session.python("input()")).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("EOFError") });
});
