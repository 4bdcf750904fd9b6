import type { VmId } from "@instavm/contract";
import type { BootConfig, CloneConfig, Engine, EngineFacts, Log, RunningMachine, Waiting } from "@instavm/core";
import type { LaunchStart, LauncherClient } from "../launcher/launcher-client.ts";
import {
  bootArguments,
  cloneArguments,
  machineFileNames,
  machineListeners,
  stateFd,
  stateSource,
} from "./command-line.ts";
import { fingerprintOf } from "./fingerprint.ts";
import { rememberHost } from "./host-probe.ts";
import type { HostProbe } from "./host-probe.ts";
import { linkBase, priorityOf, qmpSocketPath, runningMachine } from "./machine.ts";
import { continueVcpus, loadDeviceState, queryState } from "./monitor-commands.ts";
import { connectQmp } from "./qmp-connection.ts";
import { checkPresent, checkSocketPaths, checkState, makeMemoryFile } from "./state-files.ts";

/** What a QEMU engine works with. */
export interface QemuEngineOptions {
  /** Starts and ends the processes. */
  readonly launcher: LauncherClient;
  /** Where findings about the host are kept across restarts. */
  readonly cacheDir: string;
  readonly log: Log;
  /** One of the launcher's programs. Default: the first `qemu-system-x86_64` on PATH. */
  readonly qemuPath?: string | undefined;
  /** The program that measures the time stamp counter; default: beside the launcher's. */
  readonly tscProgramPath?: string | undefined;
}

/** A QEMU that was found running and does not answer for so long is ended. */
const adoptTimeoutMs = 15_000;

/** Runs VMs with QEMU's microvm machine, under KVM or emulation. Importing or creating it starts nothing. */
export function createQemuEngine(options: QemuEngineOptions): Engine {
  const host = rememberHost(options);
  return {
    facts: async (waiting) => await factsOf(await host(waiting), options),
    boot: async (config, waiting) => await boot({ ...options, probe: await host(waiting) }, config, waiting),
    clone: async (config, waiting) => await clone({ ...options, probe: await host(waiting) }, config, waiting),
    running: async (waiting) => await listRunning(options, waiting),
    adopt: async (vmId, directory, waiting) => await adopt(options, { vmId, directory }, waiting),
  };
}

interface Ready extends QemuEngineOptions {
  readonly probe: HostProbe;
}

async function factsOf(probe: HostProbe, options: QemuEngineOptions): Promise<EngineFacts> {
  return {
    name: "qemu",
    version: probe.qemu.version,
    accelerator: probe.accelerator,
    acceleratorReason: probe.reason,
    fingerprint: await fingerprintOf(probe),
    fork: forkSupport(probe, options),
  };
}

function forkSupport({ accelerator }: HostProbe, { launcher }: QemuEngineOptions): EngineFacts["fork"] {
  if (accelerator === "kvm") {
    return { isPossible: false, reason: "a VM under KVM belongs to one address space; it is cloned from files" };
  }
  if (!launcher.canFork) return { isPossible: false, reason: "the fork library was not built; script/setup builds it" };
  return { isPossible: true };
}

async function boot(engine: Ready, config: BootConfig, waiting?: Waiting): Promise<RunningMachine> {
  checkSocketPaths(config.directory);
  const { kernelPath, initrdPath } = config.boot;
  await checkPresent([kernelPath, initrdPath, config.rootfsPath]);
  await using memory = await makeMemoryFile(config.memoryPath, config.shape.memoryMib);
  const { accelerator, tscKhz } = engine.probe;
  const args = bootArguments({
    hardware: { accelerator, shape: config.shape },
    files: { directory: config.directory, rootfsPath: config.rootfsPath, memoryPath: config.memoryPath },
    boot: config.boot,
    tscKhz,
  });
  const clones = [{ from: config.blankDiskPath, toName: machineFileNames.disk }];
  const start = {
    vmId: config.vmId,
    program: engine.probe.qemu.path,
    args,
    clones,
    inherited: [],
    listeners: [],
    priority: 0,
    // Its memory is shared with its file.
    forkable: false,
  };
  const machine = await startMachine(engine, { start, directory: config.directory }, waiting);
  memory.keep();
  return machine;
}

async function clone(engine: Ready, config: CloneConfig, waiting?: Waiting): Promise<RunningMachine> {
  checkSocketPaths(config.directory);
  const { pagesPath, memoryPath } = config.source;
  const present = [config.rootfsPath, ...(pagesPath === undefined ? [] : [pagesPath])];
  await Promise.all([checkState(config.source, config.shape.memoryMib), checkPresent(present)]);
  const isForkable = forkSupport(engine.probe, engine).isPossible;
  const args = cloneArguments({
    isForkable,
    isDeferred: pagesPath !== undefined,
    hardware: { accelerator: engine.probe.accelerator, shape: config.shape },
    files: { directory: config.directory, rootfsPath: config.rootfsPath, memoryPath: config.source.memoryPath },
  });
  const start = {
    vmId: config.vmId,
    program: engine.probe.qemu.path,
    args,
    clones: [{ from: config.source.diskPath, toName: machineFileNames.disk }],
    inherited: [{ fd: stateFd, path: config.source.statePath, writable: false }],
    priority: priorityOf(config.priority),
    listeners: isForkable ? machineListeners : [],
    forkable: isForkable,
  };
  await linkBase(config.directory, memoryPath);
  const machine = await startMachine(engine, { start, directory: config.directory }, waiting);
  if (pagesPath === undefined) return machine;
  try {
    await fillMemory(
      engine,
      { vmId: config.vmId, directory: config.directory, basePath: memoryPath, pagesPath },
      waiting,
    );
    return machine;
  } catch (error) {
    await machine.end();
    throw error;
  }
}

interface MemoryFilling {
  readonly vmId: VmId;
  readonly directory: string;
  readonly basePath: string;
  readonly pagesPath: string;
}

/** The memory first: devices that load their state look into it. */
async function fillMemory(
  { launcher }: QemuEngineOptions,
  { directory, ...pages }: MemoryFilling,
  waiting: Waiting = {},
): Promise<void> {
  using monitor = await connectQmp(qmpSocketPath(directory), waiting);
  await launcher.loadPages(pages, waiting);
  await loadDeviceState(monitor, stateSource, waiting);
}

interface MachineStart {
  readonly start: LaunchStart;
  readonly directory: string;
}

/**
 * Starts the process. The launcher is not told of the caller's signal: a start that is called off half-way would
 * leave open whether there is a process, so it is completed and then ended.
 */
async function startMachine(
  { launcher, log }: QemuEngineOptions,
  { start, directory }: MachineStart,
  { signal, timeoutMs }: Waiting = {},
): Promise<RunningMachine> {
  signal?.throwIfAborted();
  const { pid } = await launcher.start(start, timeoutMs === undefined ? {} : { timeoutMs });
  const machine = runningMachine({ vmId: start.vmId, pid, directory, launcher, log });
  if (signal?.aborted === true) {
    await machine.end();
    throw signal.reason;
  }
  return machine;
}

async function listRunning({ launcher }: QemuEngineOptions, waiting?: Waiting): Promise<readonly VmId[]> {
  const all = await launcher.list(waiting);
  return all.filter((process) => process.ended === undefined).map((process) => process.vmId);
}

interface Found {
  readonly vmId: VmId;
  readonly directory: string;
}

async function adopt(
  { launcher, log }: QemuEngineOptions,
  { vmId, directory }: Found,
  waiting: Waiting = {},
): Promise<RunningMachine | undefined> {
  const found = (await launcher.list(waiting)).find((process) => process.vmId === vmId);
  if (found === undefined) return undefined;
  if (found.ended !== undefined) {
    await launcher.forget(vmId, waiting);
    return undefined;
  }
  const machine = runningMachine({ vmId, pid: found.pid, directory, launcher, log });
  if (await runsAgain({ vmId, directory }, log)) return machine;
  await machine.end(waiting);
  return undefined;
}

/** An earlier server may have died while this VM was paused. false = QEMU does not answer and is of no use. */
async function runsAgain({ vmId, directory }: Found, log: Log): Promise<boolean> {
  const waiting = { timeoutMs: adoptTimeoutMs };
  try {
    using monitor = await connectQmp(qmpSocketPath(directory), waiting);
    if ((await queryState(monitor, waiting)) === "paused") await continueVcpus(monitor, waiting);
    return true;
  } catch (error) {
    log.warn("vm_not_adopted", { vmId, error: String(error) });
    return false;
  }
}
