import { mkdir, writeFile } from "node:fs/promises";
import { cpus, release, totalmem } from "node:os";
import { parseArgs } from "node:util";
import type { Extent, Figure, Suite } from "./result.ts";
import { bootsUnderLoad } from "./suites/boots.ts";
import { burst } from "./suites/burst.ts";
import { clients } from "./suites/clients.ts";
import { coldBootSuite } from "./suites/cold-boot.ts";
import { forkSuite } from "./suites/fork.ts";
import { forksOfOne } from "./suites/forks-of-one.ts";
import { endBenchServers } from "./bench-server.ts";
import { idle } from "./suites/idle.ts";
import { alive } from "./suites/alive.ts";
import { load } from "./suites/load.ts";
import { neighboursSuite } from "./suites/neighbours.ts";
import { soak } from "./suites/soak.ts";
import { timeToInteractive } from "./suites/time-to-interactive.ts";
import { trace } from "./suites/trace.ts";
import { transfer } from "./suites/transfer.ts";
import { warm } from "./suites/warm.ts";
import { table } from "./table.ts";

const suites: readonly Suite[] = [
  timeToInteractive,
  trace,
  forkSuite,
  coldBootSuite,
  warm,
  clients,
  neighboursSuite,
  idle,
  burst,
];
const onlyWhenNamed: readonly Suite[] = [bootsUnderLoad, load, transfer, soak, alive, forksOfOne];

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true },
    list: { type: "boolean" },
    json: { type: "string" },
    minutes: { type: "string", default: "5" },
    mib: { type: "string", default: "2048" },
  },
});

if (values.list === true) {
  for (const suite of [...suites, ...onlyWhenNamed]) console.log(`${suite.name.padEnd(12)} ${suite.about}`);
} else {
  await untilInterrupted(measure(values.only, { minutes: Number(values.minutes), transferMib: Number(values.mib) }));
}

/** A run that is broken off leaves no VM. */
async function untilInterrupted(measuring: Promise<void>): Promise<void> {
  const interrupted = Promise.withResolvers<string>();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interrupted.resolve(signal));
  const signal = await Promise.race([measuring, interrupted.promise]);
  if (signal === undefined) return;
  console.error(`${signal}: ends what runs`);
  // Its calls fail now, each in its own way.
  measuring.catch(() => {});
  await endBenchServers();
  process.exit(130);
}

async function measure(names: readonly string[] | undefined, extent: Extent): Promise<void> {
  const chosen =
    names === undefined ? suites : [...suites, ...onlyWhenNamed].filter((suite) => names.includes(suite.name));
  const figures: Figure[] = [];
  for (const suite of chosen) {
    console.error(`── ${suite.name}: ${suite.about}`);
    figures.push(...(await suite.run((line) => console.error(`   ${line}`), extent)));
  }
  figures.push(...ratios(figures));
  const machine = {
    cpu: cpus()[0]?.model ?? "",
    cores: cpus().length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
  };
  const path = values.json ?? "bench/results/latest.json";
  await mkdir(new URL("../results/", import.meta.url), { recursive: true });
  await writeFile(path, `${JSON.stringify({ at: new Date().toISOString(), machine, figures }, undefined, 2)}\n`);
  console.log(`${machine.cpu}, ${machine.cores} cores, ${machine.memoryGib} GiB, Linux ${machine.kernel}\n`);
  console.log(table(figures));
}

/** How many times faster than a cold boot of the same run. */
function ratios(figures: readonly Figure[]): readonly Figure[] {
  const median = (start: string): number | undefined =>
    figures.find(({ name }) => name.startsWith(start))?.summary.median;
  const boot = median("cold boot → first");
  if (boot === undefined) return [];
  return [
    { name: "pool hit", promise: "≥ 100" },
    { name: "pool off (process fork)", promise: "≥ 150" },
    { name: "pool off (file clone)", promise: "≥ 15" },
  ].flatMap(({ name, promise }): Figure[] => {
    const value = median(`create → first Python result, ${name}`);
    if (value === undefined) return [];
    const ratio = boot / value;
    const summary = { n: 1, min: ratio, median: ratio, p95: ratio, max: ratio };
    return [{ name: `cold boot ÷ create → first result, ${name}`, unit: "×", summary, promise }];
  });
}
