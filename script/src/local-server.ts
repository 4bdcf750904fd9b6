import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { InstaVm } from "instavm";
import { rootDirectory } from "./sources.ts";

/** The server of this machine as the environment describes it: where it listens and keeps its state. */
export interface LocalServer {
  /** `host:port` */
  readonly listen: string;
  readonly baseUrl: string;
  readonly stateDirectory: string;
  readonly logPath: string;
  /** Holds the process id of a server that `script/quickstart` started. */
  readonly pidPath: string;
}

/** Reads `INSTAVM_LISTEN` and `INSTAVM_STATE_DIR`, with the server's own defaults. */
export function localServer(env: Readonly<Record<string, string | undefined>>): LocalServer {
  const listen = env["INSTAVM_LISTEN"] ?? "127.0.0.1:8222";
  const stateDirectory = env["INSTAVM_STATE_DIR"] ?? "/var/lib/instavm";
  return {
    listen,
    baseUrl: `http://${listen}`,
    stateDirectory,
    logPath: join(stateDirectory, "server.log"),
    pidPath: join(stateDirectory, "quickstart.pid"),
  };
}

/** A client with the admin key. Throws when the key cannot be read. */
export function adminClient(server: LocalServer): InstaVm {
  const apiKey = readFileSync(join(server.stateDirectory, "admin-key"), "utf8").trim();
  return new InstaVm({ apiKey, baseUrl: server.baseUrl });
}

/** Whether an InstaVM server answers there. */
export async function isAnswering(server: LocalServer): Promise<boolean> {
  return await new InstaVm({ apiKey: "", baseUrl: server.baseUrl }).health({ timeoutMs: 5000 }).then(
    () => true,
    () => false,
  );
}

/** Starts the server in a session of its own, so that it outlives this terminal. Returns its process id. */
export function startInBackground(server: LocalServer): number {
  mkdirSync(server.stateDirectory, { recursive: true, mode: 0o700 });
  const log = openSync(server.logPath, "a", 0o600);
  const program = join(rootDirectory, "apps/server/src/main.ts");
  const args = [program, "serve", "--listen", server.listen, "--state-dir", server.stateDirectory];
  const child = spawn(process.execPath, args, { detached: true, stdio: ["ignore", log, log], cwd: "/" });
  closeSync(log);
  child.unref();
  const pid = child.pid ?? 0;
  writeFileSync(server.pidPath, `${String(pid)}\n`);
  return pid;
}

/** The process id of a server that `script/quickstart` started and that still runs. */
export function runningPid(server: LocalServer): number | undefined {
  const pid = Number(readOrEmpty(server.pidPath));
  const commandLine = Number.isInteger(pid) && pid > 1 ? readOrEmpty(`/proc/${String(pid)}/cmdline`) : "";
  return commandLine.includes("apps/server/src/main.ts") ? pid : undefined;
}

/** A launcher that runs, and its VMs. */
export interface RunningLauncher {
  readonly pid: number;
  readonly vmPids: readonly number[];
}

/** The launcher of the server's state directory; undefined when none runs. */
export function launcherOf(server: LocalServer): RunningLauncher | undefined {
  const pid = Number.parseInt(readOrEmpty(join(server.stateDirectory, "launcher.lock")), 10);
  if (!Number.isInteger(pid) || pid <= 1 || !isAlive(pid)) return undefined;
  const children = readOrEmpty(`/proc/${String(pid)}/task/${String(pid)}/children`).trim();
  return { pid, vmPids: children === "" ? [] : children.split(" ").map(Number) };
}

/** Ends a process in order and waits; true when it is gone within the time. */
export async function endProcess(pid: number, withinMs: number): Promise<boolean> {
  const deadline = performance.now() + withinMs;
  for (let isFirst = true; isAlive(pid); isFirst = false) {
    if (isFirst) process.kill(pid, "SIGTERM");
    else if (performance.now() > deadline) return false;
    await sleep(50);
  }
  return true;
}

/** Forgets the server that `script/quickstart` started. */
export function forgetPid(server: LocalServer): void {
  rmSync(server.pidPath, { force: true });
}

/** The last lines of the server's log. */
export function endOfLog(server: LocalServer, lines: number): string {
  return readOrEmpty(server.logPath).trimEnd().split("\n").slice(-lines).join("\n");
}

/** The command line of a process that has ended, also while nobody has waited for it yet, is empty. */
function isAlive(pid: number): boolean {
  return readOrEmpty(`/proc/${String(pid)}/cmdline`) !== "";
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
