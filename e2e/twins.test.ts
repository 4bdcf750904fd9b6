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

/** What the same lines print in each of the sessions. */
async function prints(sessions: readonly TestSession[], lines: string, language: "python" | "bash"): Promise<string[]> {
  return await Promise.all(sessions.map(async (session) => (await session.run(lines, { language })).stdout.trim()));
}

test.each([
  ["hostname", "bash", "hostname"],
  ["machine id", "bash", "cat /etc/machine-id"],
  ["kernel UUID", "bash", "cat /proc/sys/kernel/random/uuid"],
  ["Bash random number", "bash", "echo $RANDOM$RANDOM$RANDOM"],
  ["/dev/urandom", "bash", "head -c 16 /dev/urandom | od -An -tx1"],
  ["os.urandom", "python", "import os; os.urandom(16).hex()"],
  ["random.random", "python", "import random; random.random()"],
  ["secrets", "python", "import secrets; secrets.token_hex()"],
  ["uuid4", "python", "import uuid; str(uuid.uuid4())"],
  ["temporary name", "python", "import tempfile; tempfile.mktemp()"],
  ["Node.js random number", "bash", "node -p 'Math.random()'"],
] as const)("clones of one template have each their own %s", async (_what, language, lines) => {
  await using first = await TestSession.open(server);
  await using second = await TestSession.open(server);
  const seen = await prints([first, second], lines, language);
  expect(new Set(seen).size).toBe(2);
  for (const text of seen) expect(text).not.toBe("");
});

test("clones of one template share neither files nor Python state nor processes", async () => {
  await using first = await TestSession.open(server);
  await using second = await TestSession.open(server);
  const sessions = [first, second];
  await first.python("mine = 'first'");
  expect(await second.python("mine")).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("NameError") });
  await first.bash("echo first > note; echo first > /etc/note; sleep 7001 &");
  expect(await second.bash("cat note /etc/note; pgrep -f 'sleep 700[1]'")).toMatchObject({ exitCode: 1, stdout: "" });
  await second.bash("echo second > note");
  expect(await prints(sessions, "cat note", "bash")).toEqual(["first", "second"]);
  expect(first.vmId).not.toBe(second.vmId);
});

test("the machine id in its file is the one of the name, and the clock is the host's", async () => {
  await using session = await TestSession.open(server);
  expect((await session.bash("cat /etc/machine-id")).stdout).toMatch(/^[0-9a-f]{32}\n$/);
  expect(await session.bash('test "$(hostname)" = "$(cat /etc/hostname)" && getent hosts "$(hostname)"')).toMatchObject(
    {
      exitCode: 0,
    },
  );
  const { stdout } = await session.bash("date +%s%3N");
  expect(Math.abs(Number(stdout) - Date.now())).toBeLessThan(5000);
});

test("an environment given at creation is in Python and Bash of that session alone", async () => {
  await using with_ = await TestSession.open(server, { env: { COLOUR: "blue", EMPTY: "" } });
  await using without = await TestSession.open(server);
  expect(await with_.bash('echo "$COLOUR,${EMPTY-unset}"')).toMatchObject({ stdout: "blue,\n" });
  expect(await with_.python("import os; os.environ['COLOUR']")).toMatchObject({ stdout: "'blue'\n" });
  expect(await without.bash('echo "${COLOUR-unset}"')).toMatchObject({ stdout: "unset\n" });
});
