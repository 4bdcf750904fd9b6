import { GuestLink } from "@instavm/guest-link";
import { join } from "node:path";
import { startBenchServer } from "../bench-server.ts";
import { printsFortyTwo } from "../own-host.ts";
import type { Suite } from "../result.ts";
import { createToFirstResult, execute } from "../sandbox.ts";
import { summarise } from "../statistics.ts";

const rounds = 300;
/** Before anything is timed: server and client have compiled what a call runs. */
const unmeasuredRounds = 500;

async function repeat(times: number, run: () => Promise<unknown>): Promise<readonly number[]> {
  const durations: number[] = [];
  for (let round = 0; round < times; round++) {
    const startedAt = performance.now();
    await run();
    durations.push(performance.now() - startedAt);
  }
  return durations;
}

/** Calls in a sandbox that is already in use, over HTTP and over the guest protocol alone, in the same VM. */
export const warm: Suite = {
  name: "warm",
  about: "warm Python and Bash calls over HTTP, beside the guest protocol alone",
  async run(report) {
    await using server = await startBenchServer({ poolSize: 0, forks: true });
    const { sessionId, vmId } = await createToFirstResult(server, 1);
    const python = { sessionId, language: "python", code: "print(6*7)", prints: "42\n" } as const;
    const bash = { sessionId, language: "bash", code: "echo 42", prints: "42\n" } as const;
    await repeat(unmeasuredRounds, () => execute(server, python));
    await repeat(5, () => execute(server, bash));
    report(`${rounds} calls each …`);
    const overHttp = await repeat(rounds, () => execute(server, python));
    const bashCalls = await repeat(50, () => execute(server, bash));
    const empty = await repeat(rounds, () => server.client.call("GET", "/health"));
    await server.stop();
    const session = await new GuestLink().connect(join(server.stateDir, "vms", vmId, "agent.sock"), {
      timeoutMs: 10_000,
    });
    await repeat(unmeasuredRounds, () => printsFortyTwo(session));
    const alone = await repeat(rounds, () => printsFortyTwo(session));
    const pings = await repeat(rounds, () => session.ping());
    await session.detach();
    return [
      { name: "warm Python execute over HTTP", unit: "ms", summary: summarise(overHttp), promise: "≤ 4" },
      {
        name: "the same over the guest protocol alone",
        unit: "ms",
        summary: summarise(alone),
        promise: "within 1.5 of it",
      },
      { name: "warm Bash execute over HTTP", unit: "ms", summary: summarise(bashCalls) },
      { name: "an empty call of the guest protocol", unit: "ms", summary: summarise(pings) },
      { name: "GET /health", unit: "ms", summary: summarise(empty) },
    ];
  },
};
