import { Worker } from "node:worker_threads";
import { availableParallelism } from "node:os";
import { coldBoot, openOwnHost } from "../own-host.ts";
import type { Suite } from "../result.ts";
import { summarise } from "../statistics.ts";

const boots = Number(process.env["INSTAVM_BENCH_BOOTS"] ?? 200);
const watchdogMs = 120_000;

/** Boots while every core is kept busy by somebody else: a boot that hangs never greets. */
export const bootsUnderLoad: Suite = {
  name: "boots",
  about: `${boots} cold boots with every core kept busy (long; only when named)`,
  async run(report) {
    await using host = await openOwnHost();
    const busy = Array.from({ length: availableParallelism() }, () => new Worker("for (;;) {}", { eval: true }));
    const durations: number[] = [];
    let hung = 0;
    try {
      for (let round = 0; round < boots; round++) {
        const startedAt = performance.now();
        const { machine, vmId } = await coldBoot(host);
        const session = await host.link
          .connect(machine.agentSocketPath, { timeoutMs: watchdogMs })
          .catch(() => undefined);
        if (session === undefined) {
          hung += 1;
          report(`boot ${round + 1} did not come up within ${watchdogMs} ms: ${(await machine.lastWords?.()) ?? ""}`);
          if (process.env["KEEP"]) {
            report(`pid ${machine.pid}, ${machine.agentSocketPath}`);
            await new Promise((r) => setTimeout(r, 1e9));
          }
        } else durations.push(performance.now() - startedAt);
        await session?.detach();
        await machine.end();
        await host.directories.remove(vmId);
        if ((round + 1) % 10 === 0) report(`${round + 1}/${boots} boots, ${hung} hung`);
      }
    } finally {
      await Promise.all(busy.map((worker) => worker.terminate()));
    }
    return [
      {
        name: `boots of ${boots} that came up`,
        unit: "of n",
        summary: summarise([boots - hung]),
        promise: String(boots),
      },
      { name: "cold boot → agent, cores busy", unit: "ms", summary: summarise(durations) },
    ];
  },
};
