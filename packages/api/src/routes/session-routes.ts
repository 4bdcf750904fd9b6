import { InstaVmError, operations, sessionLifetimeS } from "@instavm/contract";
import type { Clock, Sessions } from "@instavm/core";
import {
  absentAnswer,
  createdAnswer,
  killedAnswer,
  sandboxAnswer,
  sessionAnswer,
  statusAnswer,
  usageAnswer,
} from "../answers/session-answers.ts";
import { keyRoute } from "../http/route.ts";
import type { Route } from "../http/route.ts";
import { refuseLongLifetime } from "./lifetime-limit.ts";
import { holds, parseMetadataFilter } from "./metadata-filter.ts";

/** More than any host can have. */
const liveSessionsLimit = 100_000;

/** /v1/sessions and /kill. */
export function sessionRoutes(sessions: Sessions, clock: Pick<Clock, "nowMs">): readonly Route[] {
  return [
    keyRoute(operations.createSession, async ({ caller, body, signal }) => {
      refuseLongLifetime(body.vm_lifetime_seconds, sessionLifetimeS.max);
      const request = {
        shape: { vcpuCount: body.vcpu_count, memoryMib: body.memory_mb },
        lifetimeS: body.vm_lifetime_seconds,
        env: body.env ?? {},
        metadata: body.metadata ?? {},
      };
      return createdAnswer(await sessions.create(caller, request, { signal }));
    }),
    keyRoute(operations.getSession, async ({ caller, params }) =>
      sessionAnswer(await sessions.get(caller, params.session_id)),
    ),
    keyRoute(operations.deleteSession, async ({ caller, params, signal }) => {
      // Which is a 404 for another key's session; only /kill tells.
      await sessions.get(caller, params.session_id);
      return killedAnswer(await sessions.kill(caller, params.session_id, { signal }));
    }),
    keyRoute(operations.getSessionStatus, async ({ caller, params }) => {
      try {
        return statusAnswer(await sessions.get(caller, params.session_id), clock.nowMs());
      } catch (error) {
        if (error instanceof InstaVmError && error.code === "session_not_found") return absentAnswer(params.session_id);
        throw error;
      }
    }),
    keyRoute(operations.getSessionUsage, async ({ caller, params }) =>
      usageAnswer(params.session_id, await sessions.usage(caller, params.session_id)),
    ),
    keyRoute(operations.listSandboxes, async ({ caller, query }) => {
      const filter = query.metadata === undefined ? {} : parseMetadataFilter(query.metadata);
      // The filter comes after the records: all that live are looked at.
      const limit = query.metadata === undefined ? query.limit : liveSessionsLimit;
      const live = await sessions.list(caller, { liveOnly: true, limit });
      const found = live.filter(({ session }) => holds(session.metadata, filter));
      return found.slice(0, query.limit).map(sandboxAnswer);
    }),
    keyRoute(operations.kill, async ({ caller, body, signal }) =>
      killedAnswer(await sessions.kill(caller, body.session_id, { signal })),
    ),
  ];
}
