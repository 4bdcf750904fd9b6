import { setTimeout as sleep } from "node:timers/promises";
import { metric, startBenchServer, type BenchServer } from "../bench-server.ts";
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
  return (await metric(server, "instavm_pool_ready")) === (await metric(server, "instavm_pool_size"));
}

async function poolHits(report: (line: string) => void): Promise<readonly Figure[]> {
  await using server = await startBenchServer({ poolSize: 3, forks: true });
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
    { name: "create → first Python result, pool hit", unit: "ms", summary: summarise(totals), promise: "≤ 8" },
    { name: "  of which create", unit: "ms", summary: summarise(creates) },
  ];
}

/** A way to start without a pool, and what is promised of it. */
interface Way {
  readonly name: string;
  readonly forks: boolean;
  readonly promise: string;
  readonly cpuPromise?: string;
  readonly memoryPromise: string;
}

const ways: readonly Way[] = [
  {
    name: "process fork",
    forks: true,
    promise: "≤ 22, ≥ 150× faster than cold boot",
    cpuPromise: "≤ 40",
    memoryPromise: "≤ 12",
  },
  { name: "file clone", forks: false, promise: "≥ 15× faster than cold boot", memoryPromise: "≤ 100" },
];

async function withoutPool(way: Way, report: (line: string) => void): Promise<readonly Figure[]> {
  await using server = await startBenchServer({ poolSize: 0, forks: way.forks });
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
    report(`${way.name} ${round + 1}/${rounds}: ${started.firstResultMs.toFixed(1)} ms`);
    await sleep(300);
  }
  const { name, promise, cpuPromise, memoryPromise } = way;
  return [
    { name: `create → first Python result, pool off (${name})`, unit: "ms", summary: summarise(totals), promise },
    { name: "  of which create", unit: "ms", summary: summarise(creates) },
    {
      name: "  CPU of the VM process until the result",
      unit: "ms",
      summary: summarise(cpus),
      ...(cpuPromise !== undefined && { promise: cpuPromise }),
    },
    { name: "  private memory at the result", unit: "MiB", summary: summarise(memories), promise: memoryPromise },
  ];
}

/** The public method of the field: create a sandbox and run a first command in it, over HTTP. */
export const timeToInteractive: Suite = {
  name: "tti",
  about: "create → first Python result over HTTP, from the pool, by process fork and by file clone",
  async run(report) {
    const figures: Figure[] = [...(await poolHits(report))];
    for (const way of ways) figures.push(...(await withoutPool(way, report)));
    return figures;
  },
};
