import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { defaultShape, type VmId } from "@instavm/contract";
import { createPlatform, defaultSettings, type Engine, type Platform } from "@instavm/core";
import { Faults, openMemoryRecords, RecordingLog, RecordTables, sampleKeyId } from "@instavm/testkit";
import { readSettings } from "../settings/settings.ts";
import { openAdapters } from "../wiring/adapters.ts";
import { systemChance, systemClock } from "../wiring/surroundings.ts";
import { until } from "./until.ts";

/** A copy of a VM that the host has made. */
export type Fork = Awaited<ReturnType<Platform["host"]["fork"]>>[number]["sandbox"];

/** A host with real VMs, in this process, and one VM of it that runs. */
export interface ForkRoom extends AsyncDisposable {
  readonly log: RecordingLog;
  /** To be forked; its agent is this host's. */
  readonly source: Fork;
  /** As `Host.fork`, one copy. */
  fork(vmId: VmId): Promise<Fork>;
  /** Another client of the same launcher, as a server has that dies with it. Disposing closes it. */
  openEngine(): Promise<{ readonly engine: Engine } & AsyncDisposable>;
  directoryOf(vmId: VmId): string;
  /** What is under `vms/`. */
  directories(): readonly string[];
  /** Processes that work in a directory under `vms/`, by its name. */
  processes(): ReadonlyMap<string, number>;
  /** The process of a VM that runs. Throws when there is none. */
  pidOf(vmId: VmId): number;
  launcherPid(): number;
}

/** Starts the host and the VM. Disposing leaves no process and no file. */
export async function openForkRoom(): Promise<ForkRoom> {
  await using opened = new AsyncDisposableStack();
  const stateDir = await mkdtemp(join(tmpdir(), "instavm-forks-"));
  opened.defer(async () => rm(stateDir, { recursive: true, force: true }));
  opened.defer(async () => endAll(stateDir));
  const settings = readSettings({ "state-dir": stateDir }, process.env);
  const log = new RecordingLog();
  const open = async () => await openAdapters(settings, log, AbortSignal.timeout(60_000));
  const adapters = opened.use(await open());
  const records = openMemoryRecords(new RecordTables(), new Faults());
  const platform = createPlatform(
    { ...adapters, records, log, clock: systemClock, chance: systemChance },
    {
      ...defaultSettings,
      pool: { ...defaultSettings.pool, size: 0 },
      zygotes: { ...defaultSettings.zygotes, memoryMib: 0 },
    },
  );
  opened.defer(async () => platform.close());
  await platform.start();
  const fork = async (vmId: VmId): Promise<Fork> => {
    const [started] = await platform.host.fork(vmId, { count: 1, env: {} });
    if (started === undefined) throw new Error(`no fork of ${vmId}`);
    return started.sandbox;
  };
  const caller = { keyId: sampleKeyId(1), role: "admin" } as const;
  const request = { shape: defaultShape, lifetimeS: 7200, env: {}, metadata: {} };
  const { session, vm } = await platform.sessions.create(caller, request);
  if (vm === undefined) throw new Error("the session has no VM");
  // The host keeps the VMs of sessions to itself; a copy is the caller's.
  const source = await fork(vm.vmId);
  await platform.sessions.kill(caller, session.sessionId);
  const resources = opened.move();
  const vms = join(stateDir, "vms");
  return {
    log,
    source,
    fork,
    openEngine: open,
    directoryOf: (vmId) => join(vms, vmId),
    directories: () => readdirSync(vms).toSorted(),
    processes: () => processesBelow(vms),
    pidOf: (vmId) => {
      const pid = processesBelow(vms).get(vmId);
      if (pid === undefined) throw new Error(`VM ${vmId} has no process`);
      return pid;
    },
    launcherPid: () => Number(readFileSync(join(stateDir, "launcher.lock"), "utf8")),
    [Symbol.asyncDispose]: async () => resources.disposeAsync(),
  };
}

function processesBelow(directory: string): ReadonlyMap<string, number> {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return new Map(
    pids.flatMap((pid) => {
      const place = linkOf(`/proc/${pid}/cwd`);
      return dirname(place) === directory ? [[basename(place), Number(pid)] as const] : [];
    }),
  );
}

/** Empty for a process that ended in this moment. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

/** The launcher, so that it starts nothing more, then the VMs, which the host has left running. */
async function endAll(stateDir: string): Promise<void> {
  const launcher = Number(await readFile(join(stateDir, "launcher.lock"), "utf8"));
  // 0 would be this process and all its siblings.
  const isProcess = (pid: number): boolean => pid > 1;
  for (const pid of [launcher, ...processesBelow(join(stateDir, "vms")).values()].filter(isProcess)) killIfThere(pid);
  await until("all VMs have ended", () => processesBelow(join(stateDir, "vms")).size === 0);
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}
