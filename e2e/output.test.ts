import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { rawCall } from "./support/raw-call.ts";
import { RealServer } from "./support/real-server.ts";
import { TestSession } from "./support/test-session.ts";
import { processesOf } from "./support/traces.ts";

const mib = 1024 * 1024;
const limitBytes = 64 * mib;
/** Moving so much output takes a while when the machine is busy. */
const long = { timeoutS: 170, timeoutMs: 175_000 };

let server: RealServer;

beforeAll(async () => {
  server = await RealServer.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

test(
  "200 MiB of output from Bash and 80 MiB from Python are cut at 64 MiB, and that is said",
  { timeout: 400_000 },
  async () => {
    await using session = await TestSession.open(server);
    const bash = await session.bash("yes 0123456789abcde | head -c 200M; echo end >&2", long);
    expect(bash).toMatchObject({ exitCode: 0, truncated: true, timedOut: false, stderr: "end\n" });
    expect(bash.stdout).toHaveLength(limitBytes);
    expect(bash.stdout.slice(-16)).toBe("0123456789abcde\n");
    const python = await session.python("for _ in range(80): print('x' * (1 << 20), end='')", long);
    expect(python).toMatchObject({ exitCode: 0, truncated: true, timedOut: false, stderr: "" });
    expect(python.stdout).toHaveLength(limitBytes);
    expect(await session.python("print('ok')")).toMatchObject({ stdout: "ok\n", truncated: false });
    // One such output, its answer on the way, and what the server needs anyway.
    expect(peakMemoryMib(server)).toBeLessThan(800);
  },
);

test("output of 64 MiB less one byte arrives whole", async () => {
  await using session = await TestSession.open(server);
  const result = await session.bash(`yes 0123456789abcde | head -c ${limitBytes - 1}`, long);
  expect(result).toMatchObject({ exitCode: 0, truncated: false });
  expect(result.stdout === `0123456789abcde\n`.repeat(limitBytes / 16).slice(0, -1)).toBe(true);
});

test("output without end is stopped at the time limit, and what came until then is kept", async () => {
  await using session = await TestSession.open(server);
  const result = await session.bash("yes", { timeoutS: 2, timeoutMs: 60_000 });
  expect(result).toMatchObject({ exitCode: 124, timedOut: true });
  expect(result.stdout.startsWith("y\ny\ny\n")).toBe(true);
  expect(await session.bash("echo ok")).toMatchObject({ stdout: "ok\n", timedOut: false, truncated: false });
});

test("an endless stderr is cut and stopped just the same", async () => {
  await using session = await TestSession.open(server);
  const code = "import sys\nwhile True: sys.stderr.write('x' * 100)";
  const result = await session.python(code, { timeoutS: 2, timeoutMs: 60_000 });
  expect(result).toMatchObject({ exitCode: 124, timedOut: true, stdout: "" });
  expect(result.stderr.startsWith("xxx")).toBe(true);
  expect(await session.python("print('ok')")).toMatchObject({ stdout: "ok\n", stderr: "" });
});

test("bytes that are no UTF-8 become U+FFFD, and NULs arrive as they are", async () => {
  await using session = await TestSession.open(server);
  expect(await session.bash(String.raw`printf 'a\xff\x00b\xc3'`)).toMatchObject({ stdout: "a\ufffd\0b\ufffd" });
  const python = String.raw`import sys; sys.stdout.buffer.write(b'a\xff\x00b\xc3'); sys.stdout.flush()`;
  expect(await session.python(python)).toMatchObject({ stdout: "a\ufffd\0b\ufffd" });
  const program = await session.bash("cat /usr/bin/true; echo end", { timeoutS: 60 });
  expect(program).toMatchObject({ exitCode: 0, truncated: false });
  expect(program.stdout.startsWith("\u007fELF")).toBe(true);
  expect(program.stdout.endsWith("end\n")).toBe(true);
  expect(await session.python(String.raw`print('\ud800 ü')`)).toMatchObject({ stdout: "\\ud800 ü\n" });
});

test("an answer that is longer than JavaScript's longest text is an error that says so", async () => {
  await using session = await TestSession.open(server);
  await expect(session.bash("head -c 64M /dev/zero", long)).rejects.toMatchObject({
    code: "too_large",
    next: expect.stringMatching(/./),
  });
  expect(await session.bash("echo ok")).toMatchObject({ stdout: "ok\n" });
});

test("the same text stands in `output` as in `stdout`", async () => {
  await using session = await TestSession.open(server);
  const answer = await rawCall(server, "/execute", {
    body: { session_id: session.sessionId, command: "print('a'); 1 + 1", language: "python" },
  });
  expect(answer).toMatchObject({ status: 200, body: { stdout: "a\n2\n", output: "a\n2\n", stderr: "" } });
});

/** The most memory that the server's process has had. */
function peakMemoryMib(of: RealServer): number {
  const found = processesOf(of.stateDirectory).find(({ commandLine }) => commandLine.includes("main.ts serve"));
  const status = readFileSync(`/proc/${String(found?.pid)}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
}
