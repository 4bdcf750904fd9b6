import { startBenchServer } from "../bench-server.ts";
import { privateMib, residentMib, vmPids } from "../process-figures.ts";
import type { Suite } from "../result.ts";
import { createToFirstResult, execute } from "../sandbox.ts";
import { summarise } from "../statistics.ts";

const wanted = 500;
const creatorsAtOnce = 8;

/** How many sandboxes one machine holds, each of which still answers. */
export const alive: Suite = {
  name: "alive",
  about: `${wanted} sandboxes alive at once, each answering`,
  async run(report) {
    await using server = await startBenchServer({ poolSize: 0, forks: true });
    const sessionIds: string[] = [];
    let next = 0;
    const creator = async (): Promise<void> => {
      for (let number = next++; number < wanted; number = next++) {
        sessionIds.push((await createToFirstResult(server, number)).sessionId);
        if (number % 100 === 99) report(`${number + 1} …`);
      }
    };
    await Promise.all(Array.from({ length: creatorsAtOnce }, creator));
    let answers = 0;
    const durations: number[] = [];
    for (const sessionId of sessionIds) {
      durations.push(await execute(server, { sessionId, language: "python", code: "print(6*7)", prints: "42\n" }));
      answers += 1;
    }
    const pids = [...(await vmPids(server.stateDir)).values()];
    const memories = await Promise.all(pids.map(privateMib));
    return [
      {
        name: `of ${wanted} sandboxes alive at once, answering`,
        unit: "of n",
        summary: summarise([answers]),
        promise: "500",
      },
      { name: "  an answer of one of them", unit: "ms", summary: summarise(durations) },
      { name: "  private memory of each", unit: "MiB", summary: summarise(memories), promise: "≤ 12" },
      { name: "  resident memory of the server", unit: "MiB", summary: summarise([await residentMib(server.pid)]) },
    ];
  },
};
