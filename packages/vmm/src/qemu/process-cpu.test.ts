import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { processCpuMs } from "./process-cpu.ts";

test("a process's CPU time grows while it works, and there is none once it is gone", async () => {
  const child = spawn("bash", ["-c", "for ((i = 0; i < 100000; i++)); do :; done; echo done; read"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  const { pid } = child;
  try {
    expect(pid).toBeDefined();
    if (pid === undefined) return;
    const before = await processCpuMs(pid);
    await once(child.stdout, "data");
    const after = await processCpuMs(pid);
    expect(after).toBeGreaterThan(before ?? Infinity);
    expect(after).toBeLessThan(20_000);
    child.stdin.end();
    await ended;
    expect(await processCpuMs(pid)).toBeUndefined();
  } finally {
    child.kill("SIGKILL");
  }
});
