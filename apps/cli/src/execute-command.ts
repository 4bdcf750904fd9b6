import { InstaVm, InstaVmError } from "instavm";
import type { ExecuteOptions, ExecuteResult } from "instavm";
import { readCode } from "./code-source.ts";
import type { CodeSource } from "./code-source.ts";
import { RememberedSessions } from "./remembered-sessions.ts";
import { configDirectory, ownSurroundings, readSettings } from "./settings.ts";
import type { ServerOptions } from "./settings.ts";
import { formatMs, print, say } from "./terminal.ts";

export interface ExecuteCommandOptions extends ServerOptions {
  readonly source: CodeSource;
  readonly language?: "python" | "bash";
  /** An id; without it the session of the last call. */
  readonly session?: string;
  /** Seconds. */
  readonly timeout?: number;
  readonly json?: boolean;
}

const timedOutExitCode = 124;

/** Runs code in the remembered session, or a new one. Resolves with the program's exit code. */
export async function executeCommand(options: ExecuteCommandOptions, signal: AbortSignal): Promise<number> {
  const surroundings = ownSurroundings();
  const settings = readSettings(options, surroundings);
  const run: Run = {
    client: new InstaVm(settings),
    baseUrl: settings.baseUrl,
    sessions: new RememberedSessions(configDirectory(surroundings)),
    code: await readCode(options.source),
    execute: {
      signal,
      ...(options.language === undefined ? {} : { language: options.language }),
      ...(options.timeout === undefined ? {} : { timeoutS: options.timeout }),
    },
  };
  const result = options.session === undefined ? await inRememberedSession(run) : await inSession(run, options.session);
  if (options.json === true) await print(process.stdout, `${JSON.stringify(toJson(result), null, 2)}\n`);
  else await printResult(result);
  return result.exitCode;
}

interface Run {
  readonly client: InstaVm;
  readonly baseUrl: string;
  readonly sessions: RememberedSessions;
  readonly code: string;
  readonly execute: ExecuteOptions;
}

async function inRememberedSession(run: Run): Promise<ExecuteResult> {
  const remembered = run.sessions.find(run.baseUrl);
  if (remembered === undefined) return await inNewSession(run);
  try {
    return await inSession(run, remembered);
  } catch (error) {
    if (!(error instanceof InstaVmError) || error.code !== "session_not_found") throw error;
    say("the session of the last call has ended; starting another");
    run.sessions.forget(run.baseUrl);
    return await inNewSession(run);
  }
}

async function inNewSession(run: Run): Promise<ExecuteResult> {
  say("starting a microVM");
  const started = performance.now();
  const session = await run.client.createSession(
    run.execute.signal === undefined ? {} : { signal: run.execute.signal },
  );
  say(`vm ready in ${formatMs(performance.now() - started)} | own kernel, no network`);
  run.sessions.remember(run.baseUrl, session.sessionId);
  return await run.client.execute(session.sessionId, run.code, run.execute);
}

/** Says what the call cost beside the program's own time. */
async function inSession(run: Run, sessionId: string): Promise<ExecuteResult> {
  const started = performance.now();
  const result = await run.client.execute(sessionId, run.code, run.execute);
  const overheadMs = Math.max(0, performance.now() - started - result.executionTimeS * 1000);
  if (result.vmStart === undefined) say(`session reuse: ${formatMs(overheadMs)}`);
  else say(`the session's VM was gone; a fresh vm was ready in ${formatMs(result.vmReadyMs ?? overheadMs)}`);
  return result;
}

async function printResult(result: ExecuteResult): Promise<void> {
  await print(process.stdout, result.stdout);
  await print(process.stderr, result.stderr);
  if (result.timedOut) say(`stopped at the time limit; exit code ${String(timedOutExitCode)}`);
  if (result.truncated) say("output beyond the limit was dropped");
  if (result.outOfMemory) say("the VM ran out of memory and ended a process");
  if (result.contextLost) say("the interpreter ended with its variables; the next call gets a new one");
}

/** The server's own names. */
function toJson(result: ExecuteResult): Record<string, unknown> {
  return {
    session_id: result.sessionId,
    vm_id: result.vmId,
    language: result.language,
    success: result.success,
    exit_code: result.exitCode,
    stdout: result.stdout,
    stderr: result.stderr,
    timed_out: result.timedOut,
    truncated: result.truncated,
    context_lost: result.contextLost,
    out_of_memory: result.outOfMemory,
    execution_time: result.executionTimeS,
    cpu_time: result.cpuTimeS,
    vm_start: result.vmStart ?? null,
    vm_ready_ms: result.vmReadyMs ?? null,
  };
}
