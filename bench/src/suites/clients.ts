import { InstaVm } from "instavm";
import { startBenchServer } from "../bench-server.ts";
import type { Suite } from "../result.ts";
import { createToFirstResult, execute } from "../sandbox.ts";
import { summarise } from "../statistics.ts";

const rounds = 300;
/** Before anything is timed: server and clients have compiled what a call runs. */
const unmeasuredRounds = 500;
const clockReadings = 50;
const streamedLines = 100;

/** A session of a server, and the client that talks to it. */
interface InSession {
  readonly client: InstaVm;
  readonly sessionId: string;
}

/** What the TypeScript client adds to a call, and how soon it has what a guest writes. */
export const clients: Suite = {
  name: "clients",
  about: "the TypeScript client beside bare HTTP, and the way of a streamed byte",
  async run(report) {
    await using server = await startBenchServer({ poolSize: 0, forks: true });
    const { sessionId } = await createToFirstResult(server, 1);
    const client = new InstaVm({ baseUrl: server.baseUrl, apiKey: server.apiKey });
    const code = "print(6*7)";
    const bare = (): Promise<number> => execute(server, { sessionId, language: "python", code, prints: "42\n" });
    const throughClient = async (): Promise<number> => {
      const startedAt = performance.now();
      const { stdout } = await client.execute(sessionId, code, { language: "python" });
      if (stdout !== "42\n") throw new Error(`${code} printed ${JSON.stringify(stdout)}`);
      return performance.now() - startedAt;
    };
    for (let round = 0; round < unmeasuredRounds; round += 1) {
      await bare();
      await throughClient();
    }
    report(`${rounds} calls each, in turns …`);
    const bareMs: number[] = [];
    const clientMs: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      bareMs.push(await bare());
      clientMs.push(await throughClient());
    }
    const delaysMs = await streamDelays({ client, sessionId });
    return [
      { name: "warm Python over bare HTTP", unit: "ms", summary: summarise(bareMs) },
      {
        name: "the same through the TypeScript client",
        unit: "ms",
        summary: summarise(clientMs),
        promise: "within 1 of it",
      },
      {
        name: "a streamed line, from the guest's write to the client",
        unit: "ms",
        summary: summarise(delaysMs),
        promise: "≤ 10",
      },
    ];
  },
};

/** How long each of many lines was on its way. */
async function streamDelays(session: InSession): Promise<readonly number[]> {
  const aheadMs = await guestClockAheadMs(session);
  const code = `import time
for _ in range(${streamedLines}):
    time.sleep(0.03)
    print(time.time_ns(), flush=True)`;
  const delaysMs: number[] = [];
  for await (const event of session.client.stream(session.sessionId, code, { language: "python" })) {
    const arrivedAtMs = nowMs();
    if (event.type === "stdout") delaysMs.push(arrivedAtMs - (Number(event.text) / 1e6 - aheadMs));
  }
  if (delaysMs.length !== streamedLines) throw new Error(`${delaysMs.length} events came of ${streamedLines} lines`);
  return delaysMs;
}

/** The guest's clock less ours, from the quickest of many calls. */
async function guestClockAheadMs({ client, sessionId }: InSession): Promise<number> {
  let quickest = { tookMs: Number.POSITIVE_INFINITY, aheadMs: 0 };
  for (let reading = 0; reading < clockReadings; reading += 1) {
    const askedAtMs = nowMs();
    const { stdout } = await client.execute(sessionId, "import time; print(time.time_ns())", { language: "python" });
    const tookMs = nowMs() - askedAtMs;
    if (tookMs < quickest.tookMs) quickest = { tookMs, aheadMs: Number(stdout) / 1e6 - (askedAtMs + tookMs / 2) };
  }
  return quickest.aheadMs;
}

function nowMs(): number {
  return performance.timeOrigin + performance.now();
}
