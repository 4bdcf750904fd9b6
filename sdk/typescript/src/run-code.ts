import { executeTimeoutS, operations } from "@instavm/contract";
import { toExecuteResult } from "./answers.ts";
import type { ExecuteResult } from "./answers.ts";
import { executeEvents } from "./execute-events.ts";
import type { ExecuteEvent } from "./execute-events.ts";
import type { ExecuteOptions } from "./execute-options.ts";
import type { Transport } from "./transport.ts";

/** Some code, and the session that it runs in. */
export interface SessionCode {
  readonly sessionId: string;
  readonly code: string;
}

/** The server stops a little before `timeout`; the client waits a little longer. */
const patienceMs = 5000;

/** Resolves with what the code printed and how it ended. */
export async function runCode(
  transport: Transport,
  what: SessionCode,
  options: ExecuteOptions,
): Promise<ExecuteResult> {
  const { body, timeoutMs } = executeCall(what, options);
  return toExecuteResult(await transport.call(operations.execute, { body }, { timeoutMs, ...options }));
}

/** What comes of the code as it comes. */
export function streamCode(
  transport: Transport,
  what: SessionCode,
  options: ExecuteOptions,
): AsyncGenerator<ExecuteEvent, void, undefined> {
  const { body, timeoutMs } = executeCall(what, options);
  return executeEvents(transport.events(operations.execute, { body }, { timeoutMs, ...options }));
}

function executeCall({ sessionId, code }: SessionCode, { language, contextId, timeoutS }: ExecuteOptions) {
  const timeout = timeoutS ?? executeTimeoutS.default;
  const body = { session_id: sessionId, command: code, language, context_id: contextId, timeout };
  return { body, timeoutMs: timeout * 1000 + patienceMs };
}
