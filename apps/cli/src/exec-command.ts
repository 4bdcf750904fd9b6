import { InstaVmError } from "instavm";
import type { ExecuteEvent, ExecuteOptions } from "instavm";
import { readCode } from "./code-source.ts";
import { connect } from "./connection.ts";
import type { CommandOptions } from "./connection.ts";
import { executeCommand } from "./execute-command.ts";
import type { ExecuteCommandOptions } from "./execute-command.ts";
import { sayEnding } from "./how-it-ended.ts";
import { inSession } from "./run-session.ts";
import { print, printJson, say } from "./terminal.ts";

/** Runs code and prints its output as it comes. Resolves with the program's exit code. */
export async function execCommand(options: ExecuteCommandOptions, signal: AbortSignal): Promise<number> {
  if (options.json === true) return await executeCommand(options, signal);
  const connection = connect(options);
  const code = await readCode(options.source);
  return await inSession(
    { connection, session: options.session, signal },
    async (sessionId) => await printEvents(connection.client.stream(sessionId, code, executeOptions(options, signal))),
  );
}

function executeOptions(options: ExecuteCommandOptions, signal: AbortSignal): ExecuteOptions {
  return {
    signal,
    ...(options.language === undefined ? {} : { language: options.language }),
    ...(options.timeout === undefined ? {} : { timeoutS: options.timeout }),
  };
}

/** No faster than the terminal or the pipe takes it. A reader that has left ends the program, and is no failure. */
async function printEvents(events: AsyncIterable<ExecuteEvent>): Promise<number> {
  for await (const event of events) {
    switch (event.type) {
      case "stdout":
        if (!(await print(process.stdout, event.text))) return 0;
        break;
      case "stderr":
        await print(process.stderr, event.text);
        break;
      case "result":
        if (!(await printResult(event))) return 0;
        break;
      case "exit":
        if (event.vmStart !== undefined) say("the session's VM was gone; this ran in a fresh one");
        sayEnding(event);
        return event.exitCode;
    }
  }
  return 1;
}

/** As a Python prompt does: the value of the last expression, as text. Resolves with false when nobody reads. */
async function printResult(event: Extract<ExecuteEvent, { type: "result" }>): Promise<boolean> {
  if (event.mimeType === "text/plain" && event.isResult) return await print(process.stdout, `${event.data}\n`);
  if (!event.mimeType.startsWith("text/")) say(`${event.mimeType} was displayed; --json has it`);
  return true;
}

/** Starts code and prints its task's id, without waiting for its end. */
export async function execAsync(options: ExecuteCommandOptions, signal: AbortSignal): Promise<void> {
  const connection = connect(options);
  const command = await readCode(options.source);
  const { language, timeout } = options;
  const task = await inSession({ connection, session: options.session, signal }, async (sessionId) => {
    const body = { command, session_id: sessionId, language, ...(timeout === undefined ? {} : { timeout }) };
    return await connection.client.call("executeAsync", { body }, { signal });
  });
  if (options.json === true) {
    await printJson(task);
  } else {
    await print(process.stdout, `${task.task_id}\n`);
    say(`instavm exec result ${task.task_id} waits for its end`);
  }
}

export interface ExecResultOptions extends CommandOptions {
  /** Seconds between two looks. */
  readonly pollInterval?: number;
}

/** Waits for code in the background and prints what it printed. Resolves with its exit code. */
export async function execResult(taskId: string, options: ExecResultOptions, signal: AbortSignal): Promise<number> {
  const { client } = connect(options);
  const pollIntervalMs = (options.pollInterval ?? 1) * 1000;
  // Code in the background has a time limit of its own.
  await client.executions.wait(taskId, { signal, pollIntervalMs, timeoutMs: 24 * 3600 * 1000 });
  const task = await client.call("getExecution", { params: { task_id: taskId } }, { signal });
  if (options.json === true) {
    await printJson(task);
  } else {
    await print(process.stdout, task.serialized_stdout);
    await print(process.stderr, task.serialized_stderr);
    sayEnding({ timedOut: task.timed_out, truncated: task.truncated });
  }
  if (task.exit_code !== null) return task.exit_code;
  if (options.json === true) return 1;
  throw new InstaVmError("vm_lost", task.detail ?? `Task ${taskId} was not run to its end.`, { next: "Run it again." });
}
