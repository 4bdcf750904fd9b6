import { InstaVmError, commandLimitBytes, executeAnswerMarginMs, operations } from "@instavm/contract";
import type { Executions, Sessions } from "@instavm/core";
import { executeAnswer } from "../answers/execute-answer.ts";
import { answerBy } from "../http/deadline.ts";
import { keyRoute } from "../http/route.ts";
import type { Route } from "../http/route.ts";
import { tooLarge } from "../http/too-large.ts";
import { streamExecute, wantsEvents } from "./execute-stream.ts";

/** When the code should have been stopped long ago and nothing came back, the client still gets an answer in time. */
const lastResortMarginMs = 30;

/** What POST /execute stands on. */
export interface ExecuteParts {
  readonly sessions: Sessions;
  readonly executions: Executions;
  /** Of streams. */
  readonly heartbeatMs: number;
}

/** POST /execute: waits for the end, or answers with events while the code runs. */
export function executeRoute({ sessions, executions, heartbeatMs }: ExecuteParts): Route {
  return keyRoute(operations.execute, async ({ caller, body, signal, exchange }) => {
    const commandBytes = Buffer.byteLength(body.command);
    if (commandBytes > commandLimitBytes) throw tooLarge("The command", commandBytes, commandLimitBytes);
    const timeoutMs = body.timeout * 1000;
    const limitMs = timeoutMs - executeAnswerMarginMs;
    const request = {
      sessionId: body.session_id,
      code: body.command,
      language: body.language ?? undefined,
      contextId: body.context_id ?? undefined,
      limitMs,
    };
    if (wantsEvents(exchange.request)) {
      // Its client sees that it lives, and needs no margin.
      const execute = { ...request, limitMs: timeoutMs };
      return streamExecute({ ...exchange, executions, caller, execute, heartbeatMs, signal });
    }
    const deadline = { ms: timeoutMs - lastResortMarginMs, error: () => noAnswer(body.timeout) };
    const result = await answerBy(deadline, sessions.execute(caller, request, { signal, timeoutMs: limitMs }));
    return executeAnswer(body.session_id, result);
  });
}

function noAnswer(timeoutS: number): InstaVmError {
  return new InstaVmError(
    "gateway_timeout",
    `The VM gave no answer within the ${timeoutS} s of the request's timeout.`,
  );
}
