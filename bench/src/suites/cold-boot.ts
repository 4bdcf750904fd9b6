import { coldBoot, openOwnHost, printsFortyTwo } from "../own-host.ts";
import type { Suite } from "../result.ts";
import { summarise } from "../statistics.ts";

const rounds = 7;

/** What every sandbox would cost without templates: kernel, agent, Python, first result. */
export const coldBootSuite: Suite = {
  name: "cold-boot",
  about: "the same image booted from nothing to the same Python result, no HTTP",
  async run(report) {
    await using host = await openOwnHost();
    const durations: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const startedAt = performance.now();
      const { machine, vmId } = await coldBoot(host);
      const session = await host.link.connect(machine.agentSocketPath, { timeoutMs: 60_000 });
      await printsFortyTwo(session);
      durations.push(performance.now() - startedAt);
      report(`cold boot ${round + 1}/${rounds}: ${durations.at(-1)?.toFixed(0) ?? ""} ms`);
      await session.detach();
      await machine.end();
      await host.directories.remove(vmId);
    }
    return [{ name: "cold boot → first Python result", unit: "ms", summary: summarise(durations) }];
  },
};
