import { afterAll, beforeAll, expect, test } from "vitest";
import { RealServer } from "./support/real-server.ts";
import { TestSession } from "./support/test-session.ts";

let server: RealServer;
let session: TestSession;

beforeAll(async () => {
  server = await RealServer.start();
  session = await TestSession.open(server);
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

test.each([
  ["print('hello')", "hello\n"],
  ["6 * 7", "42\n"],
  ["'text'", "'text'\n"],
  ["{'a': [1, 2]}", "{'a': [1, 2]}\n"],
  ["None", ""],
  ["x = 5", ""],
  ["6 * 7;", ""],
  ["print('a', end='')\n6 * 7", "a\n42\n"],
  ["import asyncio\nawait asyncio.sleep(0.01)\nprint('awaited')", "awaited\n"],
  ["async def f(): return 4\nawait f()", "4\n"],
  ["!echo from the shell", "from the shell\n"],
  ["import os\n!echo $((6 * 7))\nprint('after')", "42\nafter\n"],
  ["lines = !printf 'a\\nb\\n'\nlen(lines)", "2\n"],
  ["word = 'inserted'\n!echo {word}", "inserted\n"],
  ["%%bash\necho a cell of Bash", "a cell of Bash\n"],
  ["%cd -q /tmp\nimport os; print(os.getcwd())\n%cd -q /app", "/tmp\n"],
  ["id", "<built-in function id>\n"],
])("without a language, %j is Python", async (code, stdout) => {
  expect(await session.run(code)).toMatchObject({ language: "python", stdout, stderr: "", exitCode: 0 });
});

test.each([
  ["echo hello", "hello\n"],
  ["pwd", "/app\n"],
  ["cd /tmp; pwd", "/tmp\n"],
  ["cd /tmp\npwd", "/tmp\n"],
  ["ls /etc/hostname", "/etc/hostname\n"],
  ["ls -d /", "/\n"],
  ["pip --version >/dev/null && echo ok", "ok\n"],
  ["python --version", /^Python 3\.11/],
  ["export A=1; echo $A", "1\n"],
  ["if [ 1 = 1 ]; then echo yes; fi", "yes\n"],
  ["cat <<EOF\nhere\nEOF", "here\n"],
  ["true", ""],
  ["whoami", "root\n"],
])("without a language, %j is Bash", async (code, stdout) => {
  const expected = typeof stdout === "string" ? stdout : expect.stringMatching(stdout);
  expect(await session.run(code)).toMatchObject({ language: "bash", stdout: expected, stderr: "", exitCode: 0 });
});

test.each(["ls", "ls -la", "date", "python", "bash", "df -h", "ps", "git --version"])(
  "without a language, %j is Bash though it may compile",
  async (code) => {
    expect(await session.run(code)).toMatchObject({ language: "bash", exitCode: 0, stderr: "" });
  },
);

test("a program's name that Python knows is Python", async () => {
  await session.run("date = 'a value'");
  expect(await session.run("date")).toMatchObject({ language: "python", stdout: "'a value'\n" });
  await session.run("del date");
  expect(await session.run("date")).toMatchObject({ language: "bash", exitCode: 0 });
});

test("a language that is said is taken at its word", async () => {
  expect(await session.bash("print('x')")).toMatchObject({ language: "bash", exitCode: 2 });
  expect(await session.python("echo hello")).toMatchObject({
    language: "python",
    exitCode: 1,
    stderr: expect.stringContaining("SyntaxError"),
  });
  expect(await session.python("ls")).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("NameError") });
});

test("magics run, and an unknown one is an error", async () => {
  expect(await session.python("%timeit -n1 -r1 1 + 1")).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining("per loop"),
  });
  expect(await session.python("%nosuchmagic")).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining("nosuchmagic"),
  });
  expect(await session.python("len?")).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining("number of items"),
  });
});

test("Python's state lasts from call to call", async () => {
  await session.python("import json\ndef twice(x): return 2 * x\nnumbers = [1]");
  await session.python("numbers.append(twice(4))");
  expect(await session.python("json.dumps(numbers)")).toMatchObject({ stdout: "'[1, 8]'\n" });
  expect(await session.python("_")).toMatchObject({ stdout: "'[1, 8]'\n" });
});

test("each Bash call is a fresh shell in the workdir; files last", async () => {
  await session.bash("cd /tmp; LOST=1; export LOST; echo kept > /app/kept");
  expect(await session.bash('pwd; echo "${LOST-unset}"; cat kept')).toMatchObject({ stdout: "/app\nunset\nkept\n" });
  expect(await session.python("open('kept').read()")).toMatchObject({ stdout: "'kept\\n'\n" });
});

test("exit codes of Bash are passed on", async () => {
  expect(await session.bash("exit 7")).toMatchObject({ exitCode: 7, success: false, contextLost: false });
  expect(await session.bash("no-such-program")).toMatchObject({
    exitCode: 127,
    stderr: expect.stringContaining("command not found"),
  });
  expect(await session.bash("kill -9 $$")).toMatchObject({ exitCode: 137 });
  expect(await session.bash("echo out; echo err >&2")).toMatchObject({ exitCode: 0, stdout: "out\n", stderr: "err\n" });
});

test("Bash calls run at the same time, also beside Python", async () => {
  // Each waits for the file of the other: one after the other they would never end.
  const meet = (mine: string, other: string): string =>
    `touch /tmp/${mine}; until [ -e /tmp/${other} ]; do sleep 0.05; done; echo met`;
  const [first, second] = await Promise.all([session.bash(meet("a", "b")), session.bash(meet("b", "a"))]);
  expect([first, second]).toMatchObject([{ stdout: "met\n" }, { stdout: "met\n" }]);
  const python =
    "import os, time\nopen('/tmp/c', 'w')\nwhile not os.path.exists('/tmp/d'): time.sleep(0.05)\nprint('met')";
  const both = await Promise.all([session.python(python), session.bash(meet("d", "c"))]);
  expect(both).toMatchObject([{ stdout: "met\n" }, { stdout: "met\n" }]);
});

test("cells of Python run one after the other", async () => {
  await session.python("order = []");
  const slow = session.python("import time; time.sleep(1); order.append(1)");
  const fast = session.python("order.append(2)");
  await Promise.all([slow, fast]);
  expect((await session.python("sorted(order)")).stdout).toBe("[1, 2]\n");
  const tick = "start = time.monotonic(); time.sleep(0.5); spans.append((start, time.monotonic()))";
  await session.python("import time; spans = []");
  await Promise.all([session.python(tick), session.python(tick), session.python(tick)]);
  const check = "spans.sort(); len(spans), all(a[1] <= b[0] for a, b in zip(spans, spans[1:]))";
  expect(await session.python(check)).toMatchObject({ stdout: "(3, True)\n" });
});
