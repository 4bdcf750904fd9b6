import { expect, test } from "vitest";
import { CommandNotStarted, failureOf, runCommand } from "./run-command.ts";
import { sleep } from "./sleep.ts";

const timeoutMs = 30_000;

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

async function untilGone(pid: number): Promise<void> {
  for (let attempt = 0; attempt < 500 && isAlive(pid); attempt += 1) await sleep(10);
  expect(isAlive(pid)).toBe(false);
}

test("a command's streams and exit code are its result", async () => {
  const result = await runCommand(["sh", "-c", "echo out; echo err >&2; exit 3"], { timeoutMs });
  expect(result).toEqual({
    exitCode: 3,
    signal: undefined,
    stdout: "out\n",
    stderr: "err\n",
    truncated: false,
    timedOut: false,
  });
});

test("stdin reaches the command whole", async () => {
  const result = await runCommand(["wc", "-c"], { timeoutMs, stdin: new Uint8Array(3_000_000) });
  expect(result.stdout.trim()).toBe("3000000");
});

test("a command that ignores its stdin is no failure", async () => {
  const result = await runCommand(["true"], { timeoutMs, stdin: new Uint8Array(3_000_000) });
  expect(result.exitCode).toBe(0);
});

test("without stdin the command reads an end at once", async () => {
  expect((await runCommand(["cat"], { timeoutMs })).stdout).toBe("");
});

test("arguments are never read by a shell", async () => {
  const result = await runCommand(["printf", "%s", "$(id); `id` > /dev/null | cat"], { timeoutMs });
  expect(result.stdout).toBe("$(id); `id` > /dev/null | cat");
});

test("a given environment is the whole environment", async () => {
  const result = await runCommand(["/usr/bin/env"], { timeoutMs, env: { ONLY: "this" } });
  expect(result.stdout).toBe("ONLY=this\n");
});

test("the beginning of stdout and the end of stderr are kept, and the cut is reported", async () => {
  const script = "seq 1 20000; seq 1 20000 >&2";
  const result = await runCommand(["sh", "-c", script], { timeoutMs, outputLimitBytes: 1_000 });
  expect(result.truncated).toBe(true);
  expect([result.stdout.length, result.stderr.length]).toEqual([1_000, 1_000]);
  expect(result.stdout.startsWith("1\n2\n")).toBe(true);
  expect(result.stderr.endsWith("19999\n20000\n")).toBe(true);
});

test("output can be watched as it arrives", async () => {
  const seen: string[] = [];
  await runCommand(["sh", "-c", "echo a; echo b >&2"], {
    timeoutMs,
    onOutput: (chunk, stream) => seen.push(`${stream}:${chunk.toString()}`),
  });
  expect(seen.toSorted()).toEqual(["stderr:b\n", "stdout:a\n"]);
});

test("a timeout ends the command with its children and keeps what it had printed", async () => {
  const result = await runCommand(["sh", "-c", "sleep 600 & echo $!; wait"], { timeoutMs: 300 });
  expect(result.timedOut).toBe(true);
  await untilGone(Number(result.stdout));
});

test("a command that ignores SIGTERM is killed", async () => {
  const result = await runCommand(["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"], { timeoutMs: 200 });
  expect([result.timedOut, result.signal]).toEqual([true, "SIGKILL"]);
});

test("an abort ends the command and rejects with the caller's reason", async () => {
  const caller = new AbortController();
  let pid = 0;
  const call = runCommand(["sh", "-c", "echo $$; sleep 600"], {
    timeoutMs,
    signal: caller.signal,
    onOutput: (chunk) => {
      pid = Number(chunk.toString());
      caller.abort(new Error("no longer wanted"));
    },
  });
  await expect(call).rejects.toThrow("no longer wanted");
  await untilGone(pid);
});

test("a grandchild that keeps the output open does not hold up the result", async () => {
  const result = await runCommand(["sh", "-c", "setsid sleep 30 & echo $!"], { timeoutMs });
  expect([result.exitCode, result.timedOut]).toEqual([0, false]);
  process.kill(Number(result.stdout), "SIGKILL");
});

test("a program that does not exist is named", async () => {
  const call = runCommand(["instavm-no-such-program"], { timeoutMs });
  await expect(call).rejects.toThrow(CommandNotStarted);
  await expect(call).rejects.toThrow("instavm-no-such-program could not be started: ENOENT");
});

test("a failure reads as one sentence, a success as none", async () => {
  const failed = await runCommand(["sh", "-c", "echo first >&2; echo no such image >&2; exit 2"], { timeoutMs });
  expect(failureOf("mkfs.erofs", failed)).toBe("mkfs.erofs exited with 2: no such image");
  const killed = await runCommand(["sh", "-c", "kill -9 $$"], { timeoutMs });
  expect(failureOf("qemu-img", killed)).toBe("qemu-img was ended by SIGKILL");
  expect(failureOf("true", await runCommand(["true"], { timeoutMs }))).toBeUndefined();
});
