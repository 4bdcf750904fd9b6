import { setTimeout as sleep } from "node:timers/promises";
import { InstaVmError } from "instavm";
import type { ExecuteResult, InstaVm } from "instavm";
import { adminClient, endOfLog, isAnswering, localServer, runningPid, startInBackground } from "../local-server.ts";
import type { LocalServer } from "../local-server.ts";

/** `script/quickstart` after the setup: a server, a VM, real Python and Bash through the HTTP API. */

const readyWithinMs = 180_000;

const python = `import platform, sys
numbers = [n * n for n in range(1, 6)]
print("Python", platform.python_version(), "on Linux", platform.release(), numbers)`;
const bash = `echo "$(nproc) vCPUs, $(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo) MiB, $(. /etc/os-release && echo "$PRETTY_NAME"), up $(cut -d. -f1 /proc/uptime) s"`;

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
  await runCode(client);
  sayWhatIsNext(server);
}

async function startServer(server: LocalServer): Promise<void> {
  const started = performance.now();
  const pid = startInBackground(server);
  console.log(`→ server, pid ${String(pid)}`);
  for (let lastSaid = started; !(await isAnswering(server)); await sleep(100)) {
    if (runningPid(server) === undefined) {
      throw new InstaVmError("host_setup", `The server ended at its start. The end of ${server.logPath}:\n${endOfLog(server, 10)}`);
    }
    const now = performance.now();
    if (now - started > readyWithinMs) {
      throw new InstaVmError("host_setup", `The server does not answer at ${server.baseUrl} after ${seconds(now - started)}; its log is ${server.logPath}.`);
    }
    if (now - lastSaid > 10_000) {
      lastSaid = now;
      console.log(`  server, ${seconds(now - started)}: ${endOfLog(server, 1).slice(0, 100)}`);
    }
  }
  console.log(`✓ server: ${seconds(performance.now() - started)}`);
}

async function runCode(client: InstaVm): Promise<void> {
  const created = await timed(() => client.createSession());
  const { sessionId, vmId } = created.value;
  console.log(`\nPOST /v1/sessions/session → VM ${vmId ?? ""} in ${milliseconds(created.ms)}`);
  try {
    show("python", await timed(() => client.execute(sessionId, python, { language: "python" })));
    show("bash", await timed(() => client.execute(sessionId, bash, { language: "bash" })));
  } finally {
    const killed = await timed(() => client.kill(sessionId));
    console.log(`POST /kill → VM and its files gone in ${milliseconds(killed.ms)}`);
  }
}

function show(language: string, { value, ms }: Timed<ExecuteResult>): void {
  console.log(`POST /execute (${language}) in ${milliseconds(ms)}, exit code ${String(value.exitCode)}:`);
  console.log(`    ${(value.stdout + value.stderr).trimEnd().replaceAll("\n", "\n    ")}`);
  if (!value.success) throw new InstaVmError("guest_failure", `The ${language} example failed in the VM.`);
}

function sayWhatIsNext(server: LocalServer): void {
  const pid = runningPid(server);
  console.log(`
Next:
  bin/instavm execute --code "import sys; print(sys.version)"
  bin/instavm execute --language bash --code "uname -a; df -h /"
  bin/instavm session close

Left running: the server${pid === undefined ? "" : ` (pid ${String(pid)}, log ${server.logPath})`}, its launcher and its pool of ready VMs.
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
