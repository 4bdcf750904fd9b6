import { execFile, execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RealServer } from "./support/real-server.ts";
import { Scratch } from "./support/scratch.ts";
import { repository } from "./support/shell-user.ts";

const installer = join(repository, "sdk/python/tests/installed_wheel.py");
const toolsPython = join(repository, ".build/python/bin/python");

let server: RealServer;
let scratch: Scratch;
/** Of a virtual environment that has the SDK's wheel and what it needs, and nothing else. */
let python: string;

beforeAll(async () => {
  scratch = new Scratch();
  python = execFileSync(toolsPython, ["-B", installer, scratch.directory], { encoding: "utf8" }).trim();
  server = await RealServer.start({ poolSize: 1 });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  scratch[Symbol.dispose]();
});

/** Runs a program in the SDK's environment as the server's owner does: with nothing but the address and the state directory. */
async function run(...args: readonly string[]): Promise<{ stdout: string; stderr: string; isGood: boolean }> {
  const env = { INSTAVM_BASE_URL: server.baseUrl, INSTAVM_STATE_DIR: server.stateDirectory };
  return await new Promise((resolve) => {
    execFile(python, ["-B", ...args], { cwd: scratch.directory, env, timeout: 400_000 }, (error, stdout, stderr) => {
      resolve({ stdout, stderr, isGood: error === null });
    });
  });
}

/** The README's Python, each with the text that it is said to print. */
function snippets(): readonly { readonly code: string; readonly output: string }[] {
  const readme = readFileSync(join(repository, "sdk/python/README.md"), "utf8");
  const pairs = /^```python\n([\s\S]*?)^```\n\n(?:^```text\n([\s\S]*?)^```$)?/gm;
  return [...readme.matchAll(pairs)].map(([, code = "", output = ""]) => ({ code, output }));
}

test("the README of the Python SDK prints what it promises", { timeout: 300_000 }, async () => {
  expect(snippets().length).toBeGreaterThan(4);
  for (const [index, { code, output }] of snippets().entries()) {
    const path = join(scratch.directory, `snippet-${String(index)}.py`);
    writeFileSync(path, code);
    expect({ code, ...(await run(path)) }).toEqual({ code, isGood: true, stdout: output, stderr: "" });
  }
});

test("all that the Python SDK offers works against a real server", { timeout: 420_000 }, async () => {
  const { stderr, isGood } = await run(join(repository, "e2e/python-sdk/real_server.py"), "--verbose");
  expect(stderr).toMatch(/^Ran \d+ tests in .*\n\nOK$/m);
  expect(isGood).toBe(true);
});
