import { commandLimitBytes, operations } from "@instavm/contract";
import type { Executions } from "@instavm/core";
import { executionAnswer, summaryAnswer } from "../answers/execution-answers.ts";
import { keyRoute } from "../http/route.ts";
import type { Route } from "../http/route.ts";
import { tooLarge } from "../http/too-large.ts";

/** POST /execute_async and /v1/executions. */
export function executionRoutes(executions: Executions): readonly Route[] {
  return [
    keyRoute(operations.executeAsync, async ({ caller, body }) => {
      const commandBytes = Buffer.byteLength(body.command);
      if (commandBytes > commandLimitBytes) throw tooLarge("The command", commandBytes, commandLimitBytes);
      const { session_id: sessionId, command: code, language, timeout } = body;
      const request = { sessionId, code, language: language ?? undefined, limitMs: timeout * 1000 };
      return executionAnswer(await executions.start(caller, request));
    }),
    keyRoute(operations.getExecution, async ({ caller, params }) =>
      executionAnswer(await executions.get(caller, params.task_id)),
    ),
    keyRoute(operations.listExecutions, async ({ caller, query }) => {
      const { limit, session_id: sessionId } = query;
      const filter = { limit, ...(sessionId === undefined ? {} : { sessionId }) };
      return (await executions.list(caller, filter)).map(summaryAnswer);
    }),
  ];
}
