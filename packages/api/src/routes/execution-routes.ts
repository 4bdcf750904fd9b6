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
      const { session_id: sessionId, command: code, timeout } = body;
      const where = { language: body.language ?? undefined, contextId: body.context_id ?? undefined };
      return executionAnswer(await executions.start(caller, { sessionId, code, ...where, limitMs: timeout * 1000 }));
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
