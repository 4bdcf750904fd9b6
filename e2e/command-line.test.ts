import { afterAll, beforeAll, expect, test } from "vitest";
import { RealServer } from "./support/real-server.ts";
import { ShellUser } from "./support/shell-user.ts";

let server: RealServer;

beforeAll(async () => {
  server = await RealServer.start({ poolSize: 1 });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

test("the promised session: variables stay from call to call until the session is closed", async () => {
  using user = new ShellUser(server);
  const first = await user.types('bin/instavm execute --code "import sys; x = 41; print(sys.version)"');
  expect(first).toMatchObject({ exitCode: 0 });
  expect(first.stdout).toMatch(/^3\.11\.\d+ .*\n$/);
  expect(first.stderr).toMatch(/vm ready in \d+ ms/);
  const second = await user.types('bin/instavm execute --code "print(x + 1)"');
  expect(second).toMatchObject({ exitCode: 0, stdout: "42\n" });
  expect(second.stderr).toMatch(/session reuse: [\d.]+ ms/);
  expect(await user.types("bin/instavm session close")).toMatchObject({ exitCode: 0 });
  const third = await user.types('bin/instavm execute --code "print(x)"');
  expect(third.exitCode).toBe(1);
  expect(third.stderr).toContain("NameError");
});

test("Bash and Python see the same files, and a file outlives the interpreter", async () => {
  using user = new ShellUser(server);
  await user.types(`bin/instavm execute --language bash --code "echo from bash > note.txt"`);
  const read = await user.types(
    `bin/instavm execute --language python --code "print(open('note.txt').read().strip())"`,
  );
  expect(read).toMatchObject({ exitCode: 0, stdout: "from bash\n" });
});

test("the program's exit code and its stderr are the command's", async () => {
  using user = new ShellUser(server);
  const call = await user.types(`echo 'echo out; echo err >&2; exit 7' | bin/instavm execute --language bash -`);
  expect(call).toMatchObject({ exitCode: 7, stdout: "out\n" });
  expect(call.stderr).toContain("\nerr\n");
});

test("a program that takes too long is stopped and the session stays usable", async () => {
  using user = new ShellUser(server);
  await user.types('bin/instavm execute --code "kept = 1"');
  const late = await user.types('bin/instavm execute --language bash --timeout 1 --code "echo begun; sleep 60"');
  expect(late).toMatchObject({ exitCode: 124, stdout: "begun\n" });
  expect(await user.types('bin/instavm execute --code "print(kept)"')).toMatchObject({ exitCode: 0, stdout: "1\n" });
});

test("a session that ended on the server is replaced, and that is said", async () => {
  using user = new ShellUser(server);
  await user.types('bin/instavm execute --code "1"');
  for (const { sessionId } of await server.client.listSessions()) await server.client.kill(sessionId);
  const call = await user.types('bin/instavm execute --code "print(1)"');
  expect(call).toMatchObject({ exitCode: 0, stdout: "1\n" });
  expect(call.stderr).toContain("has ended; starting another");
});

test("session ls shows what lives", async () => {
  using user = new ShellUser(server);
  await user.types('bin/instavm execute --code "1"');
  const listed = await user.types("bin/instavm session ls --json");
  const parsed: unknown = JSON.parse(listed.stdout);
  expect(parsed).toMatchObject({ sandboxes: expect.arrayContaining([expect.objectContaining({ status: "active" })]) });
});
