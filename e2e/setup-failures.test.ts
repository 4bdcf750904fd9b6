import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { RealServer } from "./support/real-server.ts";
import { Scratch } from "./support/scratch.ts";
import { ServerAttempt } from "./support/server-attempt.ts";
import type { FailedStart } from "./support/server-attempt.ts";

/** One sentence of what is wrong, one of what to do, an exit code, within seconds, and no stack of ours. */
function expectPlainWords(failure: FailedStart, error: RegExp, next: RegExp): void {
  expect(failure.stderr).not.toMatch(/^\s+at .*\.ts:\d+/m);
  expect(failure.said, failure.stderr).toEqual([expect.stringMatching(error), expect.stringMatching(next)]);
  expect(failure.tookMs).toBeLessThan(20_000);
}

function damagedDatabase(): Buffer {
  using scratch = new Scratch();
  const path = join(scratch.directory, "records.db");
  const database = new DatabaseSync(path);
  database.exec("create table notes (text)");
  database.close();
  return readFileSync(path).fill(0xff, 100, 4096);
}

test("without QEMU the server says which package brings it", async () => {
  await using attempt = new ServerAttempt();
  // Everything but QEMU: the directory of Node, and links to the system's programs.
  const programs = join(attempt.directory, "programs");
  mkdirSync(programs);
  for (const name of readdirSync("/usr/bin").filter((program) => !program.startsWith("qemu")))
    symlinkSync(join("/usr/bin", name), join(programs, name));
  const failure = await attempt.start({ env: { PATH: `${dirname(process.execPath)}:${programs}` } });
  expect(failure.exitCode).toBe(1);
  expectPlainWords(failure, /^error: .*qemu-system-x86_64/, /^next: {2}.*apt-get install .*qemu-system-x86/);
  expect(existsSync(join(attempt.stateDirectory, "launcher.lock"))).toBe(false);
});

test("whoever is not root is told so", async () => {
  await using attempt = new ServerAttempt();
  const failure = await attempt.start({ uid: 65_534 });
  expect(failure.exitCode).toBe(1);
  expectPlainWords(failure, /^error: The server runs as uid 65534; .*root/, /^next: {2}.*root/);
  expect(existsSync(attempt.stateDirectory)).toBe(false);
});

test("a port that is taken is named, and nothing is touched before", async () => {
  await using attempt = new ServerAttempt();
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  try {
    const address = other.address();
    const listen = typeof address === "object" && address !== null ? `127.0.0.1:${String(address.port)}` : "";
    const failure = await attempt.start({ args: ["--listen", listen] });
    expect(failure.exitCode).toBe(1);
    expectPlainWords(failure, new RegExp(`^error: .*${listen}.*taken`), /^next: {2}.*--listen/);
    expect(existsSync(attempt.stateDirectory)).toBe(false);
  } finally {
    other.close();
  }
});

test("an address that this machine does not have is named", async () => {
  await using attempt = new ServerAttempt();
  const failure = await attempt.start({ args: ["--listen", "192.0.2.1:8222"] });
  expect(failure.exitCode).toBe(1);
  expectPlainWords(failure, /^error: .*192\.0\.2\.1:8222/, /^next: {2}.*--listen/);
});

test("a state directory that another server uses is named, and that server is not disturbed", async () => {
  await using server = await RealServer.start();
  await using attempt = new ServerAttempt();
  const { sessionId } = await server.client.createSession({ vcpuCount: 1, memoryMib: 128 });
  const failure = await attempt.start({ args: ["--state-dir", server.stateDirectory] });
  expect(failure.exitCode).toBe(1);
  expectPlainWords(
    failure,
    new RegExp(`^error: Another server uses .*${server.stateDirectory}`),
    /^next: {2}.*--state-dir/,
  );
  expect(await server.client.execute(sessionId, "print(1)")).toMatchObject({ stdout: "1\n" });
});

test("a missing image is said, with what builds it", async () => {
  await using attempt = new ServerAttempt();
  const failure = await attempt.start({ args: ["--cache-dir", join(attempt.directory, "cache")] });
  expect(failure.exitCode).toBe(1);
  expectPlainWords(failure, /^error: The image .* is not in .*cache\/images/, /^next: {2}.*script\/setup/);
  expect(existsSync(join(attempt.stateDirectory, "launcher.lock"))).toBe(false);
});

test("a state directory whose path is too long for sockets is named with the limit", async () => {
  await using attempt = new ServerAttempt();
  const failure = await attempt.start({ args: ["--state-dir", join(attempt.directory, "x".repeat(90))] });
  expect(failure.exitCode).toBe(1);
  expectPlainWords(
    failure,
    /^error: The state directory .*xxx is too long .* bytes, at most \d+/,
    /^next: {2}.*--state-dir/,
  );
});

test("a state directory that cannot be made is named", async () => {
  await using attempt = new ServerAttempt();
  writeFileSync(join(attempt.directory, "file"), "");
  const failure = await attempt.start({ args: ["--state-dir", join(attempt.directory, "file/state")] });
  expect(failure.exitCode).toBe(1);
  expectPlainWords(failure, /^error: The state directory .*file\/state/, /^next: {2}.*--state-dir/);
});

test.each([
  [["--listen", "nonsense"], /--listen is "nonsense": expected HOST:PORT/],
  [["--listen", "127.0.0.1:70000"], /--listen is "127.0.0.1:70000": expected HOST:PORT/],
  [["--pool-size", "many"], /--pool-size is "many": expected a whole number/],
  [["--pool-size", "-1"], /--pool-size/],
  [["--state-dir", "relative/path"], /--state-dir is "relative\/path": expected an absolute path/],
  [["--log-format", "xml"], /--log-format is "xml"/],
  [["--no-such-flag"], /--no-such-flag/],
  [["more"], /"more"/],
])("%j is refused with exit code 2", async (args, error) => {
  await using attempt = new ServerAttempt();
  const failure = await attempt.start({ args });
  expect(failure.exitCode).toBe(2);
  expectPlainWords(failure, new RegExp(`^error: .*${error.source}`), /^next: {2}.*--help/);
});

test("a wrong setting of the environment is named by its variable", async () => {
  await using attempt = new ServerAttempt();
  const failure = await attempt.start({ env: { INSTAVM_LOG_FORMAT: "xml" } });
  expect(failure.exitCode).toBe(2);
  expectPlainWords(failure, /^error: INSTAVM_LOG_FORMAT is "xml"/, /^next: {2}.*--help/);
});

test.each([
  ["no database", Buffer.from("these are somebody's notes, not records\n".repeat(100))],
  ["a damaged database", damagedDatabase()],
])("records that are %s are named, and left as they are", async (_, content) => {
  await using attempt = new ServerAttempt();
  mkdirSync(attempt.stateDirectory);
  const path = join(attempt.stateDirectory, "records.db");
  writeFileSync(path, content);
  const failure = await attempt.start();
  expect(failure.exitCode).toBe(1);
  expectPlainWords(failure, /^error: The records in .*records\.db/, /^next: {2}.*records\.db/);
  expect(readFileSync(path)).toEqual(content);
});

test("an admin key that is none is named", async () => {
  await using attempt = new ServerAttempt();
  mkdirSync(attempt.stateDirectory);
  writeFileSync(join(attempt.stateDirectory, "admin-key"), "two words\n");
  const failure = await attempt.start();
  expect(failure.exitCode).toBe(1);
  expectPlainWords(failure, /^error: The file .*admin-key holds no API key/, /^next: {2}Remove it/);
});
