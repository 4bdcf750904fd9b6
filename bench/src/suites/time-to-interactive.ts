import { setTimeout as sleep } from "node:timers/promises";
import { startBenchServer, type BenchServer } from "../bench-server.ts";
import { cpuMs, privateMib, vmPids } from "../process-figures.ts";
import type { Figure, Suite } from "../result.ts";
import { createToFirstResult, kill } from "../sandbox.ts";
import { summarise } from "../statistics.ts";

const rounds = 15;

/** Waits until the pool is full and one more second, so that no refill runs beside what is timed. */
async function waitForFullPool(server: BenchServer): Promise<void> {
  for (let waitedMs = 0; waitedMs < 180_000; waitedMs += 100) {
    if (await isPoolFull(server)) {
      await sleep(1000);
      return;
    }
    await sleep(100);
  }
  throw new Error("the pool did not fill within 180 s");
}

async function isPoolFull(server: BenchServer): Promise<boolean> {
  const metrics = await server.client.text("/metrics");
  const value = (name: string): string | undefined => new RegExp(`^${name} (\\d+)$`, "m").exec(metrics)?.[1];
  const size = value("instavm_pool_size");
  if (size === undefined) throw new Error("GET /metrics has no instavm_pool_size");
  return value("instavm_pool_ready") === size;
}

async function poolHits(report: (line: string) => void): Promise<readonly Figure[]> {
  await using server = await startBenchServer({ poolSize: 3 });
  const totals: number[] = [];
  const creates: number[] = [];
  for (let round = 0; round < rounds; round++) {
    await waitForFullPool(server);
    const started = await createToFirstResult(server, round + 1);
    totals.push(started.firstResultMs);
    creates.push(started.createMs);
    await kill(server, started.sessionId);
    report(`pool hit ${round + 1}/${rounds}: ${started.firstResultMs.toFixed(1)} ms`);
  }
  return [
    { name: "create → first Python result, pool hit", unit: "ms", summary: summarise(totals), promise: "≤ 15" },
    { name: "  of which create", unit: "ms", summary: summarise(creates) },
  ];
}

async function fileClones(report: (line: string) => void): Promise<readonly Figure[]> {
  await using server = await startBenchServer({ poolSize: 0 });
  const totals: number[] = [];
  const creates: number[] = [];
  const cpus: number[] = [];
  const memories: number[] = [];
  await kill(server, (await createToFirstResult(server, 1)).sessionId);
  for (let round = 0; round < rounds; round++) {
    const started = await createToFirstResult(server, round + 1);
    totals.push(started.firstResultMs);
    creates.push(started.createMs);
    const pid = (await vmPids(server.stateDir)).get(started.vmId);
    if (pid !== undefined) {
      cpus.push(await cpuMs(pid));
      memories.push(await privateMib(pid));
    }
    await kill(server, started.sessionId);
    report(`file clone ${round + 1}/${rounds}: ${started.firstResultMs.toFixed(1)} ms`);
    await sleep(300);
  }
  return [
    {
      name: "create → first Python result, pool off (file clone)",
      unit: "ms",
      summary: summarise(totals),
      promise: "≥ 15× faster than cold boot",
    },
    { name: "  of which create", unit: "ms", summary: summarise(creates) },
    { name: "  CPU of the VM process until the result", unit: "ms", summary: summarise(cpus) },
    { name: "  private memory at the result", unit: "MiB", summary: summarise(memories), promise: "≤ 100" },
  ];
}

/** The public method of the field: create a sandbox and run a first command in it, over HTTP. */
export const timeToInteractive: Suite = {
  name: "tti",
  about: "create → first Python result over HTTP, from the pool and by file clone",
  async run(report) {
    return [...(await poolHits(report)), ...(await fileClones(report))];
  },
};
