import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { type BenchServer, startBenchServer } from "../bench-server.ts";
import { HttpClient } from "../http-client.ts";
import { residentMib, vmPids } from "../process-figures.ts";
import type { Figure, Suite } from "../result.ts";
import { kill } from "../sandbox.ts";
import { summarise } from "../statistics.ts";

const aliveAtOnce = 50;
const minuteMs = 60_000;
/** The work takes seconds of CPU time, and 50 share a few cores. */
const patienceMs = 900_000;
const lifetimeS = 3600;

/** What each fork does, and what it must print: its name's digest, then much output. */
function workOf(name: string): { readonly code: string; readonly prints: string } {
  const digest = createHash("sha256").update(name.repeat(100_000)).digest("hex");
  const code = `
import concurrent.futures, hashlib, os, subprocess, threading, time
open('work', 'w').write(${JSON.stringify(name)} * 100_000)
os.sync()
print(hashlib.sha256(open('work', 'rb').read()).hexdigest())
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    assert sum(pool.map(lambda n: sum(range(n)), range(200))) == 1313400
assert subprocess.check_output(['pip', '--version']).startswith(b'pip ')
assert subprocess.check_output("for i in 1 2 3; do (echo $i; sh -c 'echo x') & done; wait", shell=True).count(b'\\n') == 6
fired = threading.Event()
started = time.monotonic()
threading.Timer(0.05, fired.set).start()
assert fired.wait(60) and time.monotonic() - started >= 0.04
print('x' * 20_000_000)`;
  return { code, prints: `${digest}\n${"x".repeat(20_000_000)}\n` };
}

interface Tally {
  right: number;
  readonly wrong: string[];
  readonly startKinds: Map<string, number>;
}

/** One sandbox from create to kill. */
async function live(server: Pick<BenchServer, "client">, name: string, tally: Tally): Promise<void> {
  try {
    const session = await server.client.call("POST", "/v1/sessions/session", { vm_lifetime_seconds: lifetimeS });
    const [sessionId, start] = [String(session["session_id"]), String(session["start"])];
    tally.startKinds.set(start, (tally.startKinds.get(start) ?? 0) + 1);
    const { code, prints } = workOf(name);
    const body = { session_id: sessionId, language: "python", command: code, timeout: 600 };
    const answer = await server.client.call("POST", "/execute", body);
    if (answer["stdout"] === prints && answer["exit_code"] === 0) tally.right += 1;
    else
      tally.wrong.push(`${name}: exit code ${String(answer["exit_code"])}, ${String(answer["stderr"]).slice(0, 300)}`);
    await kill(server, sessionId);
  } catch (error) {
    tally.wrong.push(`${name}: ${String(error).slice(0, 300)}`);
  }
}

/** Descriptors, threads and memory of what stays: launcher and zygote. */
async function lasting(server: BenchServer): Promise<readonly string[]> {
  const launcher = Number(await readFile(`${server.stateDir}/launcher.lock`, "utf8"));
  const pids = [launcher, ...(await vmPids(server.stateDir)).values()];
  return await Promise.all(
    pids.map(async (pid) => {
      const [descriptors, threads] = await Promise.all([readdir(`/proc/${pid}/fd`), readdir(`/proc/${pid}/task`)]);
      const what = pid === launcher ? "launcher" : "zygote";
      return `${what}: ${descriptors.length} descriptors, ${threads.length} threads, ${(await residentMib(pid)).toFixed(0)} MiB`;
    }),
  );
}

/** Forks that all do real work, many at a time, for as long as asked. */
export const soak: Suite = {
  name: "soak",
  about: `${aliveAtOnce} forks at a time, each with real work whose answer is known, for --minutes`,
  async run(report, { minutes }): Promise<readonly Figure[]> {
    await using server = await startBenchServer({ poolSize: 0, forks: true });
    using client = new HttpClient(server.baseUrl, server.apiKey, { silenceMs: patienceMs });
    const tally: Tally = { right: 0, wrong: [], startKinds: new Map() };
    report(`before: ${(await lasting(server)).join("; ")}`);
    const untilMs = performance.now() + minutes * minuteMs;
    const worker = async (number: number): Promise<void> => {
      for (let turn = 0; performance.now() < untilMs; turn += 1) await live({ client }, `${number}-${turn}`, tally);
    };
    const talk = setInterval(() => report(`${tally.right} right, ${tally.wrong.length} wrong …`), 30_000);
    await Promise.all(Array.from({ length: aliveAtOnce }, (_, number) => worker(number)));
    clearInterval(talk);
    for (const line of tally.wrong.slice(0, 20)) report(line);
    report(`after: ${(await lasting(server)).join("; ")}`);
    report(`started as ${[...tally.startKinds].map(([kind, count]) => `${kind} ${count}`).join(", ")}`);
    const made = tally.right + tally.wrong.length;
    return [
      {
        name: `right answers of ${made} forks`,
        unit: "of n",
        summary: summarise([tally.right]),
        promise: String(made),
      },
    ];
  },
};
