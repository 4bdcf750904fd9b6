import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { freePort } from "./support/real-server.ts";
import { repository } from "./support/shell-user.ts";
import { tracesOf } from "./support/traces.ts";

let stateDirectory: string;
let env: NodeJS.ProcessEnv;

beforeEach(async () => {
  stateDirectory = mkdtempSync(join(tmpdir(), "instavm-quickstart-"));
  const listen = `127.0.0.1:${String(await freePort())}`;
  env = { ...process.env, INSTAVM_STATE_DIR: stateDirectory, INSTAVM_LISTEN: listen, INSTAVM_POOL_SIZE: "1" };
});
afterEach(() => {
  rmSync(stateDirectory, { recursive: true, force: true });
});

async function script(name: string): Promise<{ readonly output: string; readonly seconds: number }> {
  const started = performance.now();
  return await new Promise((resolve, reject) => {
    const options = { env, timeout: 240_000 };
    execFile(join(repository, "script", name), [], options, (error, stdout, stderr) => {
      if (error === null) resolve({ output: stdout + stderr, seconds: (performance.now() - started) / 1000 });
      else reject(new Error(`script/${name} failed:\n${stdout}${stderr}`, { cause: error }));
    });
  });
}

test("quickstart runs Python and Bash in a VM, says what it leaves running, and stop ends all of that", async () => {
  const first = await script("quickstart");
  expect(first.output).toMatch(/POST \/execute \(python\) in .* exit code 0:\n {4}Python 3\.11/);
  expect(first.output).toMatch(/POST \/execute \(bash\) in .* exit code 0:\n {4}Bash 5\./);
  const left = [...first.output.matchAll(/\bpids? ([\d, ]+)/g)]
    .flatMap(([, pids = ""]) => pids.split(", "))
    .map(Number);
  for (const trace of tracesOf(stateDirectory).filter((line) => line.startsWith("process "))) {
    expect(left).toContain(Number(/^process (\d+)/.exec(trace)?.[1]));
  }
  const second = await script("quickstart");
  expect(second.output).not.toContain("→ server");
  expect(second.output).toContain("exit code 0");
  await script("stop");
  await expect.poll(() => tracesOf(stateDirectory), { timeout: 10_000 }).toEqual([]);
  expect((await script("stop")).output).toContain("No server runs.");
});
