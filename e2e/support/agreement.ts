import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { RealServer } from "./real-server.ts";
import { processesOf } from "./traces.ts";

/** The VMs of a server as each witness sees them, ids in order. */
export interface Witnesses {
  /** What clients are told. */
  readonly api: readonly string[];
  /** Directories under `vms/`. */
  readonly directories: readonly string[];
  /** QEMU processes. */
  readonly processes: readonly string[];
}

/** The ids of the VMs whose QEMU runs, with their process ids. */
export function vmProcesses(server: RealServer): ReadonlyMap<string, number> {
  const directory = join(server.stateDirectory, "vms");
  const found = processesOf(directory).flatMap(({ pid, commandLine }) => {
    if (!/^\S*qemu-system/.test(commandLine)) return [];
    // Where it works, not what it was started with: a fork has its parent's command line.
    const own = workingDirectory(pid);
    return own !== undefined && dirname(own) === directory ? [[basename(own), pid] as const] : [];
  });
  return new Map(found);
}

function workingDirectory(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${String(pid)}/cwd`);
  } catch {
    return undefined; // It ended in this moment.
  }
}

/** The process of one VM; throws when it has none. */
export function vmProcess(server: RealServer, vmId: string | undefined): number {
  const pid = vmProcesses(server).get(String(vmId));
  if (pid === undefined) throw new Error(`VM ${String(vmId)} has no process`);
  return pid;
}

/** The names in `vms/`. */
export function vmDirectories(server: RealServer): readonly string[] {
  return readdirSync(join(server.stateDirectory, "vms")).toSorted();
}

/** The process id of the server's launcher. */
export function launcherPid(server: RealServer): number {
  return Number(readFileSync(join(server.stateDirectory, "launcher.lock"), "utf8"));
}

/**
 * Resolves as soon as API, directories and processes name the same VMs and these are so many; after the deadline with
 * what they name then. VMs of the pool are in no list of clients: they count as agreed when `pooled` allows for them.
 */
export async function witnesses(
  server: RealServer,
  count: number,
  options: { readonly pooled?: number } = {},
): Promise<Witnesses> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    const seen = await look(server);
    const extra = options.pooled ?? 0;
    const same = String(seen.directories) === String(seen.processes);
    const listed = seen.api.length === count && seen.api.every((id) => seen.processes.includes(id));
    if ((same && listed && seen.processes.length === count + extra) || performance.now() > deadline) return seen;
    await sleep(100);
  }
}

async function look(server: RealServer): Promise<Witnesses> {
  const sandboxes = await server.client.listSessions({ limit: 1000 });
  return {
    api: sandboxes.flatMap(({ vmId }) => (vmId === undefined ? [] : [vmId])).toSorted(),
    directories: vmDirectories(server),
    processes: [...vmProcesses(server).keys()].toSorted(),
  };
}

/** Resolves when the condition holds; throws what it was about after the deadline. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeoutMs = 60_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`after ${String(timeoutMs)} ms not yet: ${what}`);
    await sleep(50);
  }
}

/** Whether a process is there and no zombie. */
export function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${String(pid)}/status`, "utf8"));
  } catch {
    return false;
  }
}
