import type { InstaVm } from "instavm";
import { readCode } from "./code-source.ts";
import type { CodeSource } from "./code-source.ts";
import { connect } from "./connection.ts";
import type { CommandOptions } from "./connection.ts";
import { sayEnding } from "./how-it-ended.ts";
import { inSession } from "./run-session.ts";
import { formatMs, print, printJson, say } from "./terminal.ts";

export interface ExecuteCommandOptions extends CommandOptions {
  readonly source: CodeSource;
  readonly language?: "python" | "javascript" | "bash";
  /** An id; without it the session of the last call. */
  readonly session?: string;
  /** Seconds, by default 60. */
  readonly timeout?: number;
}

const defaultTimeoutS = 60;
/** How much longer than the server this program waits. */
const patienceMs = 5000;

type ExecuteAnswer = Awaited<ReturnType<typeof InstaVm.prototype.call<"execute">>>;

/** Runs code in the remembered session, or a new one. Resolves with the program's exit code. */
export async function executeCommand(options: ExecuteCommandOptions, signal: AbortSignal): Promise<number> {
  const connection = connect(options);
  const { language, timeout = defaultTimeoutS } = options;
  const command = await readCode(options.source);
  const waiting = { signal, timeoutMs: timeout * 1000 + patienceMs };
  const result = await inSession({ connection, session: options.session, signal }, async (sessionId, isNew) => {
    const body = { command, session_id: sessionId, language, timeout };
    const started = performance.now();
    const answer = await connection.client.call("execute", { body }, waiting);
    if (!isNew) sayCost(answer, performance.now() - started);
    return answer;
  });
  if (options.json === true) await printJson(result);
  else await printResult(result);
  return result.exit_code;
}

/** What the call cost beside the program's own time. */
function sayCost(answer: ExecuteAnswer, tookMs: number): void {
  const overheadMs = Math.max(0, tookMs - answer.execution_time * 1000);
  if (answer.vm_start === null) say(`session reuse: ${formatMs(overheadMs)}`);
  else say(`the session's VM was gone; a fresh vm was ready in ${formatMs(answer.vm_ready_ms ?? overheadMs)}`);
}

async function printResult(result: ExecuteAnswer): Promise<void> {
  await print(process.stdout, result.stdout);
  await print(process.stderr, result.stderr);
  sayEnding({
    timedOut: result.timed_out,
    truncated: result.truncated,
    outOfMemory: result.out_of_memory,
    contextLost: result.context_lost,
  });
}
