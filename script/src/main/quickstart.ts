import { setTimeout as sleep } from "node:timers/promises";
import { InstaVmError } from "instavm";
import type { CreatedSession, ExecuteResult, InstaVm } from "instavm";
import {
  adminClient,
  endOfLog,
  isAnswering,
  launcherOf,
  localServer,
  runningPid,
  startInBackground,
} from "../local-server.ts";
import type { LocalServer } from "../local-server.ts";

/** `script/quickstart` after the setup: a server, a VM, real Python and Bash through the HTTP API. */

const readyWithinMs = 180_000;

const python = `import platform, sys
numbers = [n * n for n in range(1, 6)]
print("Python", platform.python_version(), "on Linux", platform.release(), numbers)`;
const bash = `. /etc/os-release
read -r _ memory_kib _ </proc/meminfo
echo "Bash $BASH_VERSION on $PRETTY_NAME, $(nproc) vCPUs, $((memory_kib / 1024)) MiB"`;

try {
  await quickstart(localServer(process.env));
} catch (error) {
  console.error(`error: ${error instanceof Error ? error.message : String(error)}`);
  if (error instanceof InstaVmError) console.error(`next:  ${error.next}`);
  process.exitCode = 1;
}

async function quickstart(server: LocalServer): Promise<void> {
  if (!(await isAnswering(server))) await startServer(server);
  const client = adminClient(server);
  const health = await client.health();
  console.log(`server: ${server.baseUrl}, ${health.engine} ${health.engineVersion}, ${health.accelerator}`);
  console.log(`        ${health.acceleratorReason}`);
  console.log("");
  await runCode(client);
  sayWhatIsNext(server);
}

async function startServer(server: LocalServer): Promise<void> {
  const started = performance.now();
  const pid = startInBackground(server);
  console.log(`→ server, pid ${String(pid)}`);
  for (let lastSaid = started; !(await isAnswering(server)); await sleep(100)) {
    if (runningPid(server) === undefined) {
      throw new InstaVmError(
        "host_setup",
        `The server ended at its start. The end of ${server.logPath}:\n${endOfLog(server, 10)}`,
      );
    }
    const now = performance.now();
    if (now - started > readyWithinMs) {
      throw new InstaVmError(
        "host_setup",
        `The server does not answer at ${server.baseUrl} after ${seconds(now - started)}; its log is ${server.logPath}.`,
      );
    }
    if (now - lastSaid > 10_000) {
      lastSaid = now;
      console.log(`  server, ${seconds(now - started)}: ${endOfLog(server, 1).slice(0, 100)}`);
    }
  }
  console.log(`✓ server: ${seconds(performance.now() - started)}`);
}

/** The first VM of a server without templates takes seconds; then a second one shows what is usual. */
async function runCode(client: InstaVm): Promise<void> {
  const first = await createSession(client);
  if (first.ms > 2000) {
    console.log("  The template of all later VMs was made on the way. Once more:");
    await client.kill(first.value.sessionId);
  }
  const { sessionId } = (first.ms > 2000 ? await createSession(client) : first).value;
  try {
    show("python", await timed(() => client.execute(sessionId, python, { language: "python" })));
    show("bash", await timed(() => client.execute(sessionId, bash, { language: "bash" })));
  } finally {
    const killed = await timed(() => client.kill(sessionId));
    console.log(`POST /kill → VM and its files gone in ${milliseconds(killed.ms)}`);
  }
}

async function createSession(client: InstaVm): Promise<Timed<CreatedSession>> {
  const started = performance.now();
  const progress = setInterval(() => {
    console.log(
      `  VM, ${seconds(performance.now() - started)}: the first one is booted and warmed, all later ones are copies`,
    );
  }, 5000);
  try {
    const created = await timed(() => client.createSession());
    const { vmId = "", start } = created.value;
    const origin = start === "pool" ? "from the pool" : "a copy of the template";
    console.log(`POST /v1/sessions/session → VM ${vmId}, ${origin}, in ${milliseconds(created.ms)}`);
    return created;
  } finally {
    clearInterval(progress);
  }
}

function show(language: string, { value, ms }: Timed<ExecuteResult>): void {
  console.log(`POST /execute (${language}) in ${milliseconds(ms)}, exit code ${String(value.exitCode)}:`);
  console.log(`    ${(value.stdout + value.stderr).trimEnd().replaceAll("\n", "\n    ")}`);
  if (!value.success) throw new InstaVmError("guest_failure", `The ${language} example failed in the VM.`);
}

function sayWhatIsNext(server: LocalServer): void {
  const pid = runningPid(server);
  const launcher = launcherOf(server);
  console.log(`
Next:
  bin/instavm execute --code "import sys; print(sys.version)"
  bin/instavm execute --language bash --code "uname -a; df -h /"
  bin/instavm session close

Left running: the server${pid === undefined ? "" : ` (pid ${String(pid)}, log ${server.logPath})`},
its launcher (pid ${String(launcher?.pid)}) and the launcher's VMs, which wait in the pool (pids ${launcher?.vmPids.join(", ") ?? ""}).
Stop all of it with: script/stop`);
}

interface Timed<Value> {
  readonly value: Value;
  readonly ms: number;
}

async function timed<Value>(call: () => Promise<Value>): Promise<Timed<Value>> {
  const started = performance.now();
  const value = await call();
  return { value, ms: performance.now() - started };
}

function milliseconds(ms: number): string {
  return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
