import { InstaVmError } from "@instavm/contract";
import type { VmId } from "@instavm/contract";
import type { EndReason, Log, Waiting } from "@instavm/core";
import { makeResource } from "@instavm/process";
import { watchEnds } from "./end-watch.ts";
import type { EndWatch } from "./end-watch.ts";
import type { LauncherOptions } from "./ensure-launcher.ts";
import { listProcesses } from "./launched-process.ts";
import type { LaunchedProcess } from "./launched-process.ts";
import { unexpectedAnswer } from "./launcher-connection.ts";
import type { LauncherCall, LauncherConnection } from "./launcher-connection.ts";
import { keepLink } from "./launcher-link.ts";
import type { LauncherLink } from "./launcher-link.ts";

/** A process to start, in the directory `<state dir>/vms/<vm id>` that the caller has made. */
export interface LaunchStart {
  readonly vmId: VmId;
  /** One of the client's `programs`. */
  readonly program: string;
  readonly args: readonly string[];
  /** Made before the start, as reflinks where the filesystem can, else as sparse copies; `toName` must not exist. */
  readonly clones: readonly { readonly from: string; readonly toName: string }[];
  /** Opened by the launcher and inherited under these numbers, 3 to 63. */
  readonly inherited: readonly { readonly fd: number; readonly path: string; readonly writable: boolean }[];
  /** -20..19; 0 is normal. */
  readonly priority: number;
  /** Sockets of the VM's directory that the process finds listening. */
  readonly listeners: readonly LaunchListener[];
  /** Whether the process, and each that it is forked into, can be forked. */
  readonly forkable: boolean;
}

/** A Unix stream socket that listens, and its number in the process: 3 to 62. */
interface LaunchListener {
  readonly fd: number;
  readonly name: string;
}

/** A copy of a process that runs, in the directory `<state dir>/vms/<vm id>` that the caller has made. */
interface LaunchFork {
  readonly parentVmId: VmId;
  readonly vmId: VmId;
  /** Files of the parent's directory that it writes; copied under the same names while it stands. */
  readonly disks: readonly string[];
  /** The sockets on which the parent listens; the copy has its own. */
  readonly listeners: readonly LaunchListener[];
  readonly priority: number;
  /** What the copy of the parent's only connection reads; without it the copy's connections are cut. */
  readonly firstInput?: string;
}

/** A file of the pages that a VM's memory has changed. */
interface LaunchPages {
  readonly vmId: VmId;
  /** The file that the memory is mapped from. */
  readonly basePath: string;
  readonly pagesPath: string;
}

/** A process that was just made. */
interface Launched {
  readonly pid: number;
  /** How long the parent of a fork stood, in ms; 0 for a start. */
  readonly pauseMs: number;
}

/**
 * The host's end of the launcher. It connects again when the launcher was restarted; calls that were under way
 * then fail with `launcher_unreachable`, ends that nobody saw are found out. Every call has a deadline (10 s, a start 60 s).
 */
export interface LauncherClient extends AsyncDisposable {
  /**
   * Starts a process; one that starts although the caller has left meanwhile is ended again.
   * Throws `disk_full`, `conflict` (the VM has a process, or one that was not forgotten), `engine_failed`.
   */
  start(start: LaunchStart, waiting?: Waiting): Promise<Launched>;
  /** As `start`, from a process that was started `forkable`. Throws `not_forkable`, with the reason; the parent is as it was. */
  fork(fork: LaunchFork, waiting?: Waiting): Promise<Launched>;
  /**
   * Writes the pages that a VM which stands has changed to an empty file of the state directory; resolves with their size in bytes.
   * Throws `engine_failed`, `disk_full` or `vm_not_found`.
   */
  savePages(pages: LaunchPages, waiting?: Waiting): Promise<number>;
  /** Puts them into the memory of a VM whose guest does not run yet. Throws as `savePages`. */
  loadPages(pages: LaunchPages, waiting?: Waiting): Promise<void>;
  /** SIGTERM 15, SIGKILL 9, SIGSTOP 19 or SIGCONT 18. Throws `vm_not_found` when nothing runs. */
  signal(vmId: VmId, signal: number, waiting?: Waiting): Promise<void>;
  /** The nice value of all its threads. */
  setPriority(vmId: VmId, priority: number, waiting?: Waiting): Promise<void>;
  /** What runs, and what ended and was not forgotten. */
  list(waiting?: Waiting): Promise<readonly LaunchedProcess[]>;
  /** Drops what is remembered of a process that ended. */
  forget(vmId: VmId, waiting?: Waiting): Promise<void>;
  /** Settles, never rejects, when the VM's present process has ended; `unknown` when it has none. */
  ended(vmId: VmId): Promise<EndReason>;
  /** Whether it was given a fork library. */
  readonly canFork: boolean;
  /** Closes the connection. Launcher and VMs live on. */
  close(): void;
}

const startTimeoutMs = 60_000;
/** Gigabytes may be written to a slow disk. */
const pagesTimeoutMs = 120_000;
const pageBytes = 4096;

interface Means {
  readonly link: LauncherLink;
  readonly watch: EndWatch;
  readonly log: Log;
  readonly canFork: boolean;
}

/** Finds or starts the launcher of a state directory. Throws `host_setup` or `launcher_unreachable`. */
export async function ensureLauncher(options: LauncherOptions, waiting: Waiting = {}): Promise<LauncherClient> {
  const watch = watchEnds();
  const canFork = options.forkLibraryPath !== undefined;
  const means: Means = { link: keepLink(options, watch), watch, log: options.log, canFork };
  try {
    await means.link.connection(waiting);
  } catch (error) {
    means.link.close();
    throw error;
  }
  const client = clientOf(means);
  return makeResource(client, () => client.close());
}

function clientOf(means: Means): Omit<LauncherClient, typeof Symbol.asyncDispose> {
  return {
    canFork: means.canFork,
    start: (start, waiting) => {
      const { args, clones, inherited, listeners, ...rest } = start;
      const value = {
        ...rest,
        args: [...args],
        clones: [...clones],
        inherited: [...inherited],
        listeners: [...listeners],
      };
      const subject = `start of VM ${start.vmId}`;
      const call = { subject, request: { case: "start", value } } as const;
      return launchProcess(means, { vmId: start.vmId, call }, waiting);
    },
    fork: (fork, waiting) => {
      const { disks, listeners, firstInput = "", ...rest } = fork;
      const firstBytes = new TextEncoder().encode(firstInput);
      const value = { ...rest, disks: [...disks], listeners: [...listeners], firstInput: firstBytes };
      const subject = `fork of VM ${fork.parentVmId} to ${fork.vmId}`;
      const call = { subject, request: { case: "fork", value } } as const;
      return launchProcess(means, { vmId: fork.vmId, call }, waiting);
    },
    async savePages({ vmId, basePath, pagesPath }, waiting) {
      const call = {
        subject: `the memory of VM ${vmId}`,
        request: { case: "savePages", value: { vmId, basePath, toPath: pagesPath } },
      } as const;
      const connection = await means.link.connection(waiting);
      const answer = await connection.call(call, withPagesTime(waiting));
      if (answer.case !== "pagesSaved") throw unexpectedAnswer(call.subject, answer);
      return Number(answer.value.pages) * pageBytes;
    },
    async loadPages({ vmId, basePath, pagesPath }, waiting) {
      const value = { vmId, basePath, fromPath: pagesPath };
      const call = { subject: `the memory of VM ${vmId}`, request: { case: "loadPages", value } } as const;
      await order(means.link, call, withPagesTime(waiting));
    },
    async signal(vmId, signal, waiting) {
      const request = { case: "signal", value: { vmId, signal } } as const;
      await order(means.link, { subject: `signal ${signal} to VM ${vmId}`, request }, waiting);
    },
    async setPriority(vmId, priority, waiting) {
      const request = { case: "setPriority", value: { vmId, priority } } as const;
      await order(means.link, { subject: `priority of VM ${vmId}`, request }, waiting);
    },
    list: (waiting) => onLiveConnection(means.link, (connection) => listProcesses(connection, waiting), waiting),
    async forget(vmId, waiting) {
      await order(means.link, { subject: `end of VM ${vmId}`, request: { case: "forget", value: { vmId } } }, waiting);
      means.watch.forget(vmId);
    },
    ended: (vmId) => means.watch.find(vmId) ?? askForEnd(means, vmId),
    close: () => means.link.close(),
  };
}

function withPagesTime(waiting: Waiting = {}): Waiting {
  return { ...waiting, timeoutMs: waiting.timeoutMs ?? pagesTimeoutMs };
}

/** A request whose answer carries nothing. */
async function order(link: LauncherLink, call: LauncherCall, waiting?: Waiting): Promise<void> {
  const answer = await onLiveConnection(link, (connection) => connection.call(call, waiting), waiting);
  if (answer.case !== "done") throw unexpectedAnswer(call.subject, answer);
}

/** Asks again, once, when the launcher was lost before it answered. For what may be done twice. */
async function onLiveConnection<T>(
  link: LauncherLink,
  ask: (connection: LauncherConnection) => Promise<T>,
  waiting?: Waiting,
): Promise<T> {
  const connection = await link.connection(waiting);
  try {
    return await ask(connection);
  } catch (error) {
    if (!connection.isLost()) throw error;
    await connection.closed;
    return ask(await link.connection(waiting));
  }
}

interface Launch {
  readonly vmId: VmId;
  readonly call: LauncherCall;
}

async function launchProcess(means: Means, { vmId, call }: Launch, waiting: Waiting = {}): Promise<Launched> {
  const onLateAnswer = (): void => void undoStart(means, vmId);
  const connection = await means.link.connection(waiting);
  // Expected from now on: the end of a short process can arrive together with the answer.
  const end = means.watch.expect(vmId);
  try {
    const timeoutMs = waiting.timeoutMs ?? startTimeoutMs;
    const answer = await connection.call({ ...call, onLateAnswer }, { ...waiting, timeoutMs });
    if (answer.case !== "started") throw unexpectedAnswer(call.subject, answer);
    return { pid: answer.value.pid, pauseMs: Number(answer.value.pauseUs) / 1000 };
  } catch (error) {
    end.drop();
    // A launcher that died before it answered may have started it: nobody but the next one can tell, or end it.
    if (connection.isLost()) await undoStart(means, vmId);
    throw notFoundAsFailure(error);
  }
}

/** What a start did not find is a file, not the VM. */
function notFoundAsFailure(error: unknown): unknown {
  if (!(error instanceof InstaVmError) || error.code !== "vm_not_found") return error;
  return new InstaVmError("engine_failed", error.message, { cause: error });
}

/** Nobody knows of this process, if there is one: its caller left before it was told. */
async function undoStart(means: Means, vmId: VmId): Promise<void> {
  const client = clientOf(means);
  try {
    await client.signal(vmId, 9);
    await client.ended(vmId);
    await client.forget(vmId);
  } catch (error) {
    if (error instanceof InstaVmError && error.code === "vm_not_found") return;
    means.log.warn("late_start_not_undone", { vmId, error: String(error) });
  }
}

/** The end of a process that this client did not start. */
async function askForEnd(means: Means, vmId: VmId): Promise<EndReason> {
  const end = means.watch.expect(vmId);
  try {
    const all = await listProcesses(await means.link.connection());
    const found = all.find((process) => process.vmId === vmId);
    if (found === undefined) means.watch.settle(vmId, { kind: "unknown" });
    else if (found.ended !== undefined) means.watch.settle(vmId, found.ended);
  } catch (error) {
    // The next connection asks for all ends that are open.
    means.log.warn("launcher_lost", { error: String(error) });
  }
  return end.reason;
}
