import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { makeResource } from "@instavm/process";
import { describe, expect, it } from "vitest";
import { openStateDirectory } from "./state/state-directory.ts";

const program = join(import.meta.dirname, "main.ts");

interface Ended {
  readonly exitCode: unknown;
  readonly stdout: string;
  readonly stderr: string;
}

async function runProgram(...args: readonly string[]): Promise<Ended> {
  const child = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const [[exitCode], stdout, stderr] = await Promise.all([once(child, "exit"), text(child.stdout), text(child.stderr)]);
  return { exitCode, stdout, stderr };
}

async function emptyDirectory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "instavm-run-"));
  return makeResource({ path }, async () => rm(path, { recursive: true }));
}

describe("the server program", () => {
  it("explains itself", async () => {
    const ended = await runProgram("--help");
    expect(ended).toMatchObject({ exitCode: 0, stderr: "" });
    expect(ended.stdout).toContain("--listen");
  });

  it.each([
    [["serve", "--listen", "nonsense"], '--listen is "nonsense"'],
    [["fly"], 'There is no command "fly".'],
  ])("says what is wrong with %j and exits with 2", async (args, sentence) => {
    const ended = await runProgram(...args);
    expect(ended).toMatchObject({ exitCode: 2, stdout: "" });
    expect(ended.stderr).toContain(`error: ${sentence}`);
    expect(ended.stderr).toMatch(/\nnext: {2}\S.+\n$/);
  });

  it("says in one sentence that the port is taken, and touches nothing", async () => {
    await using directory = await emptyDirectory();
    const taken = createServer();
    taken.listen(0, "127.0.0.1");
    await once(taken, "listening");
    try {
      const address = taken.address();
      const listen = `127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
      const ended = await runProgram("serve", "--listen", listen, "--state-dir", directory.path);
      expect(ended.exitCode).toBe(1);
      expect(ended.stderr).toMatch(
        `error: The server cannot listen on ${listen}: the port is taken.\nnext:  Stop what listens there, or choose another address with --listen.\n`,
      );
    } finally {
      taken.close();
    }
  });

  it("says in one sentence that another server has the state directory", async () => {
    await using directory = await emptyDirectory();
    using _state = await openStateDirectory(directory.path);
    const ended = await runProgram("serve", "--listen", "127.0.0.1:0", "--state-dir", directory.path);
    expect(ended.exitCode).toBe(1);
    expect(ended.stderr).toBe(
      `error: Another server uses the state directory ${directory.path}.\nnext:  Stop it, or choose another directory with --state-dir.\n`,
    );
  });
});
