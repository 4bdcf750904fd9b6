import { readFile, readdir } from "node:fs/promises";

/** Kernel clock ticks per second in /proc; fixed at 100 for every Linux userspace. */
const ticksPerSecond = 100;

/** CPU time that a process and its threads have used, in ms. */
export async function cpuMs(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const userTicks = Number(fields[11]);
  const systemTicks = Number(fields[12]);
  return ((userTicks + systemTicks) * 1000) / ticksPerSecond;
}

/** Memory that belongs to this process alone (Private_Clean + Private_Dirty), in MiB. */
export async function privateMib(pid: number): Promise<number> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, "utf8");
  const kib = [...rollup.matchAll(/^Private_(?:Clean|Dirty):\s+(\d+) kB$/gm)].reduce(
    (sum, match) => sum + Number(match[1]),
    0,
  );
  return kib / 1024;
}

/** Resident memory of a process in MiB. */
export async function residentMib(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) / 1024;
}

/** Pids of the VM processes of one state directory, by VM id. */
export async function vmPids(stateDir: string): Promise<ReadonlyMap<string, number>> {
  const pids = new Map<string, number>();
  for (const vmId of await readdir(`${stateDir}/vms`).catch(() => [])) {
    const text = await readFile(`${stateDir}/vms/${vmId}/process.json`, "utf8").catch(() => undefined);
    if (text === undefined) continue;
    const record: unknown = JSON.parse(text);
    if (typeof record === "object" && record !== null && "pid" in record && typeof record.pid === "number") {
      pids.set(vmId, record.pid);
    }
  }
  return pids;
}
