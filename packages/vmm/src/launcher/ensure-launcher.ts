import { InstaVmError } from "@instavm/contract";
import type { Log, Waiting } from "@instavm/core";
import {
  CommandNotStarted,
  DeadlineExceeded,
  failureOf,
  runCommand,
  sleep,
  untilAborted,
  withDeadline,
} from "@instavm/process";
import type { HelloReply } from "@instavm/protocol/launcher";
import { join } from "node:path";
import { noAnswer, openConnection } from "./launcher-connection.ts";
import type { LauncherConnection, LauncherEvents } from "./launcher-connection.ts";

/** Which launcher is wanted. */
export interface LauncherOptions {
  /** Absolute. The launcher's socket, lock and log live in it, VMs in `vms/<vm id>`. */
  readonly stateDir: string;
  /** See `launcherBinaryPath`. */
  readonly binaryPath: string;
  /** Absolute paths of what a VM process may be. */
  readonly programs: readonly [string, ...string[]];
  /** Absolute directories whose files VMs may clone or inherit read-only, beside the state directory. */
  readonly readRoots: readonly string[];
  /** Absolute; without it no process can be forked. */
  readonly forkLibraryPath?: string | undefined;
  /** The launcher's exit after so long without VM and client; default 60 s. */
  readonly idleExitS?: number;
  readonly log: Log;
}

/** The launcher's exit code when another one holds the state directory. */
const heldExitCode = 3;
const ensureTimeoutMs = 20_000;
const socketPathLimitBytes = 107;

/** Where the launcher of a state directory listens. */
export function launcherSocketPath(stateDir: string): string {
  return join(stateDir, "launcher.sock");
}

/**
 * Connects to the launcher of a state directory, starting it when there is none and replacing one that was started
 * for other programs, roots or another fork library (its VMs live on). Servers that do this at the same time meet at one launcher.
 */
export async function reachLauncher(
  options: LauncherOptions,
  events: LauncherEvents,
  waiting: Waiting = {},
): Promise<LauncherConnection> {
  checkSocketPath(options.stateDir);
  const subject = `launcher of ${options.stateDir}`;
  try {
    return await withDeadline((signal) => reachBefore(options, events, signal), {
      subject,
      timeoutMs: waiting.timeoutMs ?? ensureTimeoutMs,
      signal: waiting.signal,
    });
  } catch (error) {
    throw error instanceof DeadlineExceeded ? noAnswer(error) : error;
  }
}

async function reachBefore(
  options: LauncherOptions,
  events: LauncherEvents,
  signal: AbortSignal,
): Promise<LauncherConnection> {
  for (;;) {
    const connection = await tryConnection(options.stateDir, events, signal);
    if (connection === undefined) {
      await startLauncher(options, signal);
    } else if (signal.aborted) {
      connection.close();
      throw signal.reason;
    } else if (suits(connection.hello, options)) {
      return connection;
    } else {
      await endLauncher(connection, options.log, signal);
    }
  }
}

/** undefined = nobody listens there. */
async function tryConnection(
  stateDir: string,
  events: LauncherEvents,
  signal: AbortSignal,
): Promise<LauncherConnection | undefined> {
  try {
    return await openConnection({ socketPath: launcherSocketPath(stateDir), ...events }, { signal });
  } catch (error) {
    if (error instanceof InstaVmError && error.code === "launcher_unreachable") return undefined;
    throw error;
  }
}

function suits(hello: HelloReply, options: LauncherOptions): boolean {
  const hasPrograms = options.programs.every((program) => hello.programs.includes(program));
  if (hello.forkLibrary !== (options.forkLibraryPath ?? "")) return false;
  return hasPrograms && options.readRoots.every((root) => hello.readRoots.includes(root));
}

async function endLauncher(connection: LauncherConnection, log: Log, signal: AbortSignal): Promise<void> {
  const { pid, programs, readRoots } = connection.hello;
  log.info("launcher_replaced", { pid, programs, readRoots });
  try {
    process.kill(pid, "SIGTERM");
    await untilAborted(() => connection.closed, signal);
  } catch (cause) {
    if (signal.aborted) throw signal.reason;
    throw new InstaVmError("launcher_unreachable", `launcher with pid ${pid}: could not be ended: ${String(cause)}`, {
      cause,
    });
  } finally {
    connection.close();
  }
}

async function startLauncher(options: LauncherOptions, signal: AbortSignal): Promise<void> {
  const args = [
    "--state-dir",
    options.stateDir,
    "--socket",
    launcherSocketPath(options.stateDir),
    ...options.programs.flatMap((program) => ["--program", program]),
    ...options.readRoots.flatMap((root) => ["--read-root", root]),
    ...(options.forkLibraryPath === undefined ? [] : ["--fork-library", options.forkLibraryPath]),
    ...(options.idleExitS === undefined ? [] : ["--idle-exit-s", String(options.idleExitS)]),
  ];
  try {
    // An empty environment: the launcher stays when the server, and what its environment held, is gone.
    const result = await runCommand([options.binaryPath, ...args], {
      timeoutMs: ensureTimeoutMs,
      signal,
      env: {},
      cwd: "/",
    });
    if (result.exitCode === heldExitCode) {
      // Another server is faster, or a launcher is about to leave: it listens, or is gone, in a moment.
      await sleep(25, signal);
      return;
    }
    const failure = failureOf("instavm-launcher", result);
    if (failure !== undefined) throw new InstaVmError("host_setup", failure);
    options.log.info("launcher_started", { stateDir: options.stateDir });
  } catch (cause) {
    if (!(cause instanceof CommandNotStarted)) throw cause;
    const next = "Build it with `cargo build --release -p instavm-launcher`, or run script/setup.";
    throw new InstaVmError("host_setup", `launcher: ${cause.message}`, { cause, next });
  }
}

function checkSocketPath(stateDir: string): void {
  const path = launcherSocketPath(stateDir);
  const bytes = Buffer.byteLength(path);
  if (bytes <= socketPathLimitBytes) return;
  const next = "Use a state directory with a shorter path.";
  throw new InstaVmError("host_setup", `socket path ${path}: ${bytes} bytes, at most ${socketPathLimitBytes} fit`, {
    next,
  });
}
