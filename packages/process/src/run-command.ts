import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import type { Writable } from "node:stream";
import { keepBeginning, keepEnd } from "./bounded-output.ts";
import { sleep } from "./sleep.ts";

/** A command and its bounds. */
export interface CommandOptions {
  /** From the start to the last byte of output; then the whole process group is ended. */
  readonly timeoutMs: number;
  /** Aborting ends the process group; the call then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
  readonly cwd?: string;
  /** The whole environment; undefined = the caller's own. */
  readonly env?: Readonly<Record<string, string>>;
  /** undefined = an empty stdin. */
  readonly stdin?: Uint8Array | string;
  /** For each of stdout (whose beginning is kept) and stderr (whose end is kept). Default 1 MiB. */
  readonly outputLimitBytes?: number;
  /** Sees every chunk as it arrives, whatever the limit: for progress. */
  readonly onOutput?: (chunk: Buffer, stream: "stdout" | "stderr") => void;
}

/** How a command ended. */
export interface CommandResult {
  /** undefined when a signal ended it. */
  readonly exitCode: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** Either stream was longer than the limit. */
  readonly truncated: boolean;
  readonly timedOut: boolean;
}

/** The command could not be started: no such program, no permission, no memory. */
export class CommandNotStarted extends Error {
  readonly program: string;
  /** e.g. `ENOENT`. */
  readonly reason: string;

  constructor(program: string, cause: NodeJS.ErrnoException) {
    super(`${program} could not be started: ${cause.code ?? cause.message}`, { cause });
    this.name = "CommandNotStarted";
    this.program = program;
    this.reason = cause.code ?? "unknown";
  }
}

/** Between SIGTERM and SIGKILL. */
const graceMs = 2_000;
/** How long a stream may stay open, in the hands of a grandchild, after the command itself ended. */
const drainMs = 1_000;

/**
 * Runs one program to its end: an argument list, never a shell. It gets a process group of its own, so a
 * timeout or an abort takes its children along (SIGTERM, 2 s later SIGKILL). A non-zero exit code is a result.
 * @throws CommandNotStarted; the signal's reason after an abort, when the process is gone.
 */
export async function runCommand(
  argv: readonly [string, ...string[]],
  options: CommandOptions,
): Promise<CommandResult> {
  options.signal?.throwIfAborted();
  const [program, ...args] = argv;
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: options.env === undefined ? process.env : { ...options.env },
    stdio: [options.stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    detached: true,
  });
  const ended = endOf(child, program);
  const output = collectOutput(child, options);
  feed(child.stdin, options.stdin);
  let timedOut = false;
  const ending = new AbortController();
  const timer = setTimeout(() => {
    timedOut = true;
    void endGroup(child, ending.signal);
  }, options.timeoutMs);
  const onAbort = (): void => void endGroup(child, ending.signal);
  options.signal?.addEventListener("abort", onAbort, { once: true });
  try {
    const end = await ended;
    if (options.signal?.aborted === true && !timedOut) throw options.signal.reason;
    return { ...end, ...output(), timedOut };
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", onAbort);
    ending.abort();
    // What the command left behind in its group would otherwise outlive the wait that was cut short.
    if (timedOut || options.signal?.aborted === true) killGroup(child, "SIGKILL");
  }
}

/** One sentence about a command that failed, or undefined when it succeeded. */
export function failureOf(program: string, result: CommandResult): string | undefined {
  if (result.exitCode === 0 && !result.timedOut) return undefined;
  const how = result.timedOut
    ? "ran out of time"
    : result.signal === undefined
      ? `exited with ${String(result.exitCode)}`
      : `was ended by ${result.signal}`;
  const said = result.stderr.trim().split("\n").at(-1) ?? "";
  return said === "" ? `${program} ${how}` : `${program} ${how}: ${said.slice(0, 500)}`;
}

function endOf(child: ChildProcess, program: string): Promise<Pick<CommandResult, "exitCode" | "signal">> {
  const { promise, resolve, reject } = Promise.withResolvers<Pick<CommandResult, "exitCode" | "signal">>();
  child.once("error", (error) => {
    // After a successful start, "error" only says that a signal could not be sent.
    if (child.pid === undefined) reject(new CommandNotStarted(program, error));
  });
  child.once("exit", () => {
    setTimeout(() => {
      child.stdout?.destroy();
      child.stderr?.destroy();
    }, drainMs).unref();
  });
  child.once("close", (exitCode, signal) => resolve({ exitCode: exitCode ?? undefined, signal: signal ?? undefined }));
  return promise;
}

function collectOutput(
  child: ChildProcess,
  options: CommandOptions,
): () => Pick<CommandResult, "stdout" | "stderr" | "truncated"> {
  const limitBytes = options.outputLimitBytes ?? 1024 * 1024;
  const stdout = keepBeginning(limitBytes);
  const stderr = keepEnd(limitBytes);
  child.stdout?.on("data", (chunk: Buffer) => {
    stdout.add(chunk);
    options.onOutput?.(chunk, "stdout");
  });
  child.stderr?.on("data", (chunk: Buffer) => {
    stderr.add(chunk);
    options.onOutput?.(chunk, "stderr");
  });
  return () => ({ stdout: stdout.text(), stderr: stderr.text(), truncated: stdout.truncated || stderr.truncated });
}

function feed(stdin: Writable | null, bytes: Uint8Array | string | undefined): void {
  if (stdin === null || bytes === undefined) return;
  // EPIPE: the program did not want all of its input. Its exit code says whether that was a failure.
  stdin.on("error", () => {});
  stdin.end(bytes);
}

async function endGroup(child: ChildProcess, over: AbortSignal): Promise<void> {
  killGroup(child, "SIGTERM");
  try {
    await sleep(graceMs, over);
  } catch {
    return; // it ended within the grace
  }
  killGroup(child, "SIGKILL");
}

function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    // ESRCH: the group is gone, which is what was wanted. EPERM: what is left of it changed its user and is not ours to end.
    if (!(error instanceof Error && "code" in error && (error.code === "ESRCH" || error.code === "EPERM"))) throw error;
  }
}
