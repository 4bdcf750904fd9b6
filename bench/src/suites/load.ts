import { setTimeout as sleep } from "node:timers/promises";
import { startBenchServer } from "../bench-server.ts";
import { MemorySeries } from "../memory-series.ts";
import { callKinds } from "../mixed-calls.ts";
import type { CallKind, LoadedSession } from "../mixed-calls.ts";
import type { Figure, Suite } from "../result.ts";
import { createToFirstResult, kill } from "../sandbox.ts";
import { percentile, summarise } from "../statistics.ts";

const clients = 64;
const sessions = 8;
const minuteMs = 60_000;

/** What came of all calls of a run. */
class Outcome {
  readonly durations = new Map<string, number[]>();
  readonly failures: string[] = [];

  async time(kind: CallKind, session: LoadedSession): Promise<void> {
    const startedAt = performance.now();
    try {
      await kind.run(session);
    } catch (error) {
      this.failures.push(`${kind.name}: ${String(error)}`);
      return;
    }
    const known = this.durations.get(kind.name) ?? [];
    this.durations.set(kind.name, known);
    known.push(performance.now() - startedAt);
  }
}

/** Many clients at once with all kinds of calls, for as long as asked. */
export const load: Suite = {
  name: "load",
  about: `${clients} clients with mixed calls in ${sessions} sandboxes: latencies, failures, the server's memory`,
  async run(report, { minutes }) {
    await using server = await startBenchServer({ poolSize: 2, forks: true });
    const forMs = minutes * minuteMs;
    const own: LoadedSession[] = [];
    for (let index = 0; index < sessions; index += 1) {
      const { sessionId, vmId } = await createToFirstResult(server, index + 1, Math.ceil(forMs / 1000) + 600);
      own.push({ server, sessionId, vmId });
    }
    const outcome = new Outcome();
    const untilMs = performance.now() + forMs;
    using memory = new MemorySeries(server.pid, 1000);
    const client = async (number: number): Promise<void> => {
      for (let turn = number; performance.now() < untilMs; turn += 1) {
        const [session, kind] = [own[number % own.length], callKinds[turn % callKinds.length]];
        if (session !== undefined && kind !== undefined) await outcome.time(kind, session);
      }
    };
    const talk = setInterval(() => report(`${countOf(outcome)} calls, ${outcome.failures.length} failed …`), 30_000);
    try {
      await Promise.all(Array.from({ length: clients }, (_, number) => client(number)));
    } finally {
      clearInterval(talk);
    }
    for (const failure of outcome.failures.slice(0, 20)) report(failure);
    await sleep(1000);
    await Promise.all(own.map(async ({ sessionId }) => kill(server, sessionId)));
    report(`the server's memory in MiB: ${memory.shown(Math.max(forMs / 20, 1000))}`);
    return [...latencies(outcome), ...totals(outcome, memory, forMs)];
  },
};

function latencies({ durations }: Outcome): readonly Figure[] {
  return [...durations]
    .toSorted(([a], [b]) => a.localeCompare(b))
    .flatMap(([name, values]): readonly Figure[] => [
      { name, unit: "ms", summary: summarise(values) },
      { name: `${name}, 99th percentile`, unit: "ms", summary: summarise([percentile(values, 0.99)]) },
    ]);
}

function totals(outcome: Outcome, memory: MemorySeries, forMs: number): readonly Figure[] {
  const calls = countOf(outcome);
  // A minute, or less of a short run.
  const warmMs = Math.min(minuteMs, forMs / 3);
  const early = percentile(memory.between(warmMs, warmMs * 1.5), 0.5);
  const late = percentile(memory.between(forMs * 0.9, forMs), 0.5);
  return [
    {
      name: `failures among ${calls} calls`,
      unit: "of n",
      summary: summarise([outcome.failures.length]),
      promise: "0",
    },
    { name: `calls of ${clients} clients`, unit: "per s", summary: summarise([calls / (forMs / 1000)]) },
    { name: "the server's memory after the first minute", unit: "MiB", summary: summarise([early]) },
    {
      name: "its growth from then to the end",
      unit: "MiB",
      summary: summarise([late - early]),
      promise: "none",
      note: memory.shown(Math.max(forMs / 20, 1000)),
    },
  ];
}

function countOf({ durations, failures }: Outcome): number {
  return [...durations.values()].reduce((sum, { length }) => sum + length, failures.length);
}
