import { setTimeout as sleep } from "node:timers/promises";
import { startBenchServer } from "../bench-server.ts";
import { cpuMs, privateMib, residentMib, vmPids } from "../process-figures.ts";
import type { Suite } from "../result.ts";
import { createToFirstResult } from "../sandbox.ts";
import { summarise } from "../statistics.ts";

const sandboxes = 8;
const windowMs = 20_000;

async function cpuShares(pids: readonly number[]): Promise<readonly number[]> {
  const before = await Promise.all(pids.map(cpuMs));
  await sleep(windowMs);
  const after = await Promise.all(pids.map(cpuMs));
  return after.map((value, index) => ((value - (before[index] ?? 0)) * 100) / windowMs);
}

/** What sandboxes and the server cost while nobody uses them. */
export const idle: Suite = {
  name: "idle",
  about: "CPU and private memory of sandboxes that wait, and of the server; a short sleep in the guest",
  async run(report) {
    await using server = await startBenchServer({ poolSize: 0, forks: true });
    for (let index = 0; index < sandboxes; index++) {
      await server.client.call("POST", "/v1/sessions/session", {});
    }
    await sleep(3000);
    const unused = [...(await vmPids(server.stateDir)).values()];
    const unusedMemory = await Promise.all(unused.map(privateMib));
    const known = new Set(unused);
    const used = [];
    for (let index = 0; index < sandboxes; index++) used.push(await createToFirstResult(server, index + 1));
    const usedPids = [...(await vmPids(server.stateDir)).values()].filter((pid) => !known.has(pid));
    const usedMemory = await Promise.all(usedPids.map(privateMib));
    report(`${unused.length + usedPids.length} sandboxes wait for ${windowMs / 1000} s …`);
    await sleep(2000);
    const [serverShare = Number.NaN, ...vmShares] = await cpuShares([server.pid, ...unused, ...usedPids]);
    const naps = await guestNaps(server, used[0]?.sessionId ?? "");
    return [
      { name: "private memory, idle fork", unit: "MiB", summary: summarise(unusedMemory), promise: "≤ 45" },
      { name: "private memory, after Python", unit: "MiB", summary: summarise(usedMemory), promise: "≤ 12" },
      { name: "CPU of an idle sandbox", unit: "%", summary: summarise(vmShares), promise: "≤ 1" },
      { name: "CPU of the idle server", unit: "%", summary: summarise([serverShare]), promise: "not measurable" },
      { name: "resident memory of the server", unit: "MiB", summary: summarise([await residentMib(server.pid)]) },
      { name: "a 1 ms sleep in a 2-vCPU guest", unit: "ms", summary: summarise(naps), promise: "≤ 1.5" },
    ];
  },
};

async function guestNaps(server: Awaited<ReturnType<typeof startBenchServer>>, sessionId: string): Promise<number[]> {
  const code = [
    "import time",
    "naps = []",
    "for _ in range(200):",
    "    t = time.perf_counter(); time.sleep(0.001); naps.append((time.perf_counter() - t) * 1000)",
    "print(' '.join(f'{nap:.4f}' for nap in naps))",
  ].join("\n");
  const answer = await server.client.call("POST", "/execute", {
    session_id: sessionId,
    language: "python",
    command: code,
  });
  return String(answer["stdout"]).trim().split(" ").map(Number);
}
