import { InstaVmError, commandLimitBytes, executeAnswerMarginMs, operations } from "@instavm/contract";
import type { Sessions } from "@instavm/core";
import { executeAnswer } from "../answers/execute-answer.ts";
import { answerBy } from "../http/deadline.ts";
import { keyRoute } from "../http/route.ts";
import type { Route } from "../http/route.ts";
import { tooLarge } from "../http/too-large.ts";

/** When the code should have been stopped long ago and nothing came back, the client still gets an answer in time. */
const lastResortMarginMs = 50;

/** POST /execute. */
export function executeRoute(sessions: Sessions): Route {
  return keyRoute(operations.execute, async ({ caller, body, signal }) => {
    const commandBytes = Buffer.byteLength(body.command);
    if (commandBytes > commandLimitBytes) throw tooLarge("The command", commandBytes, commandLimitBytes);
    const timeoutMs = body.timeout * 1000;
    const limitMs = timeoutMs - executeAnswerMarginMs;
    const request = {
      sessionId: body.session_id,
      code: body.command,
      language: body.language ?? undefined,
      limitMs,
    };
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
