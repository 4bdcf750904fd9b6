import { startBenchServer } from "../bench-server.ts";
import type { Suite } from "../result.ts";
import { createToFirstResult } from "../sandbox.ts";
import { summarise } from "../statistics.ts";

const burstSize = 100;

/** Everybody comes at once. */
export const burst: Suite = {
  name: "burst",
  about: `${burstSize} creates and first results at once`,
  async run(report) {
    await using server = await startBenchServer({ poolSize: 0, forks: true });
    await createToFirstResult(server, 1);
    report(`${burstSize} at once …`);
    const startedAt = performance.now();
    const outcomes = await Promise.allSettled(
      Array.from({ length: burstSize }, (_, index) => createToFirstResult(server, index + 2)),
    );
    const wallMs = performance.now() - startedAt;
    const right = outcomes.filter((outcome) => outcome.status === "fulfilled");
    for (const outcome of outcomes) {
      if (outcome.status === "rejected") report(`wrong: ${String(outcome.reason).slice(0, 200)}`);
    }
    return [
      {
        name: `right answers of ${burstSize} at once`,
        unit: "of n",
        summary: summarise([right.length]),
        promise: "100",
      },
      {
        name: "create → first result in the burst",
        unit: "ms",
        summary: summarise(right.map((outcome) => outcome.value.firstResultMs)),
        promise: "p95 ≤ 2 200, none over 30 000",
      },
      {
        name: "rate of the burst",
        unit: "per s",
        summary: summarise([(right.length * 1000) / wallMs]),
        promise: "≥ 50",
      },
    ];
  },
};
