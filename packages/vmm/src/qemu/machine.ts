import { open, readlink, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { InstaVmError } from "@instavm/contract";
import type { VmId } from "@instavm/contract";
import type {
  EndedMachine,
  ForkConfig,
  ForkedMachine,
  Log,
  PausedMachine,
  RunningMachine,
  Waiting,
} from "@instavm/core";
import { DeadlineExceeded, once, withDeadline } from "@instavm/process";
import type { LauncherClient } from "../launcher/launcher-client.ts";
import { machineFileNames, machineListeners } from "./command-line.ts";
import { copyDisk } from "./disk-copy.ts";
import { lastWords } from "./last-words.ts";
import { continueCommand, continueVcpus, saveDeviceState, stopVcpus } from "./monitor-commands.ts";
import { processCpuMs } from "./process-cpu.ts";
import { connectQmp } from "./qmp-connection.ts";
import type { QmpConnection } from "./qmp-connection.ts";

/** A QEMU process and what reaches it. */
export interface MachineProcess {
  readonly vmId: VmId;
  readonly pid: number;
  readonly directory: string;
  readonly launcher: LauncherClient;
  readonly log: Log;
}

/** What outlives a machine's phases. */
interface Life extends MachineProcess {
  readonly ended: Promise<EndedMachine>;
  readonly end: (waiting?: Waiting) => Promise<EndedMachine>;
  /** The file that its memory is mapped from; read once. */
  readonly base: () => Promise<string | undefined>;
}

const sigkill = 9;
/** SIGKILL takes effect at once, but for a process that waits for a disk. */
const endTimeoutMs = 30_000;

/** A machine whose vCPUs run, from the moment its process exists. */
export function runningMachine(process: MachineProcess): RunningMachine {
  return running(watch(process));
}

function watch(process: MachineProcess): Life {
  const { vmId, launcher } = process;
  const ended = launcher.ended(vmId).then(async (reason): Promise<EndedMachine> => {
    await forget(process);
    return { phase: "ended", vmId, reason };
  });
  const kill = once(() => launcher.signal(vmId, sigkill));
  const end = async (waiting: Waiting = {}): Promise<EndedMachine> => {
    const timeoutMs = waiting.timeoutMs ?? endTimeoutMs;
    const subject = `the end of VM ${vmId} (pid ${process.pid})`;
    try {
      return await withDeadline(() => endNow(kill, ended), { subject, timeoutMs, signal: waiting.signal });
    } catch (error) {
      if (!(error instanceof DeadlineExceeded)) throw error;
      throw new InstaVmError("engine_failed", `${error.message}; expected it to be gone after SIGKILL.`, {
        cause: error,
      });
    }
  };
  return { ...process, ended, end, base: once(() => findBase(process)) };
}

async function endNow(kill: () => Promise<void>, ended: Promise<EndedMachine>): Promise<EndedMachine> {
  // A process that ended by itself cannot be signalled, which is no failure: its end is what counts.
  const killed = kill().then(
    () => ended,
    async (error: unknown) => {
      const outcome = await Promise.race([ended, Promise.resolve(undefined)]);
      if (outcome === undefined) throw error;
      return outcome;
    },
  );
  return await Promise.race([ended, killed]);
}

/** The launcher keeps how a process ended until somebody has seen it. */
async function forget({ vmId, launcher, log }: MachineProcess): Promise<void> {
  try {
    await launcher.forget(vmId);
  } catch (error) {
    log.warn("vm_not_forgotten", { vmId, error: String(error) });
  }
}

function running(life: Life): RunningMachine {
  return {
    phase: "running",
    vmId: life.vmId,
    pid: life.pid,
    agentSocketPath: join(life.directory, machineFileNames.agentSocket),
    ended: life.ended,
    end: life.end,
    pause: async (waiting = {}) => {
      const monitor = await connectQmp(qmpSocketPath(life.directory), waiting);
      try {
        await stopVcpus(monitor, waiting);
      } catch (error) {
        monitor[Symbol.dispose]();
        throw error;
      }
      return paused(life, monitor);
    },
    fork: async (config, waiting) => await forkOf(life, config, { waiting }),
    lastWords: async () => await lastWords(life.directory),
    cpuMs: async () => await processCpuMs(life.pid),
    prioritise: async (waiting = {}) => await life.launcher.setPriority(life.vmId, 0, waiting),
  };
}

/** Holds the monitor's connection, so that the way back is short. */
function paused(life: Life, monitor: QmpConnection): PausedMachine {
  void life.ended.then(() => monitor[Symbol.dispose]());
  return {
    phase: "paused",
    vmId: life.vmId,
    ended: life.ended,
    end: life.end,
    saveDeviceState: async (statePath, waiting = {}) => {
      await intoNewFile(statePath, () => saveDeviceState(monitor, statePath, waiting));
    },
    saveMemory: async (pagesPath, waiting = {}) => {
      const { vmId, launcher } = life;
      const memoryPath = await life.base();
      if (memoryPath === undefined) {
        throw new InstaVmError(
          "engine_failed",
          `VM ${vmId} does not say which file its memory is mapped from; expected one that was cloned or forked.`,
        );
      }
      let bytes = 0;
      await intoNewFile(pagesPath, async () => {
        bytes = await launcher.savePages({ vmId, basePath: memoryPath, pagesPath }, waiting);
      });
      return { memoryPath, bytes };
    },
    saveDisk: async (diskPath, waiting = {}) => {
      const own = join(life.directory, machineFileNames.disk);
      await intoNewFile(diskPath, () => copyDisk({ from: own, to: diskPath }, waiting));
    },
    // The copy of the monitor's connection brings the copy's first command.
    fork: async (config, waiting) => await forkOf(life, config, { firstInput: continueCommand, waiting }),
    resume: async (waiting = {}) => {
      await continueVcpus(monitor, waiting);
      monitor[Symbol.dispose]();
      return running(life);
    },
  };
}

interface Forking {
  readonly firstInput?: string;
  readonly waiting?: Waiting | undefined;
}

/** As a start (see the engine), a fork is completed and then ended when its caller has left meanwhile. */
async function forkOf(life: Life, config: ForkConfig, { firstInput, waiting }: Forking): Promise<ForkedMachine> {
  const { signal, timeoutMs } = waiting ?? {};
  signal?.throwIfAborted();
  const { vmId, directory } = config;
  const fork = {
    parentVmId: life.vmId,
    vmId,
    disks: [machineFileNames.disk],
    listeners: machineListeners,
    priority: priorityOf(config.priority),
    ...(firstInput !== undefined && { firstInput }),
  };
  const { launcher, log } = life;
  const base = await life.base();
  // Beside the fork, which takes longer: creates wait for this.
  const [linked, forked] = await Promise.allSettled([
    base === undefined ? undefined : linkBase(directory, base),
    launcher.fork(fork, timeoutMs === undefined ? {} : { timeoutMs }),
  ]);
  if (forked.status === "rejected") throw forked.reason;
  const { pid, pauseMs } = forked.value;
  const machine = runningMachine({ vmId, pid, directory, launcher, log });
  if (linked.status === "fulfilled" && signal?.aborted !== true) return { machine, pauseMs };
  await machine.end();
  throw linked.status === "rejected" ? linked.reason : signal?.reason;
}

/** Remembers in a VM's directory which file its memory is mapped from; so a later server knows it too. */
export async function linkBase(directory: string, memoryPath: string): Promise<void> {
  try {
    await symlink(memoryPath, join(directory, machineFileNames.base));
  } catch (error) {
    const code = isErrno(error, "ENOSPC") || isErrno(error, "EDQUOT") ? "disk_full" : "engine_failed";
    const why = error instanceof Error ? error.message : String(error);
    throw new InstaVmError(code, `${directory} could not be written: ${why}.`, { cause: error });
  }
}

/** undefined for a machine that booted: its memory is a file of its own. */
async function findBase({ vmId, directory }: MachineProcess): Promise<string | undefined> {
  try {
    return await readlink(join(directory, machineFileNames.base));
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw new InstaVmError("engine_failed", `VM ${vmId}: its link to the saved memory: ${String(error)}.`, {
      cause: error,
    });
  }
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

/** The nice value of a VM that leaves the cores to others. */
const backgroundPriority = 19;

export function priorityOf(priority: "normal" | "background"): number {
  return priority === "background" ? backgroundPriority : 0;
}

/** Where QEMU of a VM listens for its monitor. */
export function qmpSocketPath(directory: string): string {
  return join(directory, machineFileNames.qmpSocket);
}

/** Makes the file, which must not exist, lets `fill` write it, and removes it when that fails. */
async function intoNewFile(path: string, fill: () => Promise<void>): Promise<void> {
  try {
    await (await open(path, "wx", 0o600)).close();
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new InstaVmError("engine_failed", `${path} could not be made: ${why}.`, { cause: error });
  }
  try {
    await fill();
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}
