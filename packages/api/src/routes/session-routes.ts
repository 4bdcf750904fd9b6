import { InstaVmError, listLimit, operations, sessionLifetimeS } from "@instavm/contract";
import type { Clock, Sessions } from "@instavm/core";
import {
  absentAnswer,
  createdAnswer,
  killedAnswer,
  sandboxAnswer,
  sessionAnswer,
  statusAnswer,
} from "../answers/session-answers.ts";
import { keyRoute } from "../http/route.ts";
import type { Route } from "../http/route.ts";
import { holds, parseMetadataFilter } from "./metadata-filter.ts";

/** /v1/sessions and /kill. */
export function sessionRoutes(sessions: Sessions, clock: Pick<Clock, "nowMs">): readonly Route[] {
  return [
    keyRoute(operations.createSession, async ({ caller, body, signal }) => {
      refuseLongLifetime(body.vm_lifetime_seconds);
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
    keyRoute(operations.deleteSession, async ({ caller, params, signal }) =>
      killedAnswer(await sessions.kill(caller, params.session_id, { signal })),
    ),
    keyRoute(operations.getSessionStatus, async ({ caller, params }) => {
      try {
        return statusAnswer(await sessions.get(caller, params.session_id), clock.nowMs());
      } catch (error) {
        if (error instanceof InstaVmError && error.code === "session_not_found") return absentAnswer(params.session_id);
        throw error;
      }
    }),
    keyRoute(operations.listSandboxes, async ({ caller, query }) => {
      const filter = query.metadata === undefined ? {} : parseMetadataFilter(query.metadata);
      const views = await sessions.list(caller, { limit: listLimit.max });
      const live = views.filter(({ session }) => session.endedAtMs === undefined && holds(session.metadata, filter));
      return live.slice(0, query.limit).map(sandboxAnswer);
    }),
    keyRoute(operations.kill, async ({ caller, body, signal }) =>
      killedAnswer(await sessions.kill(caller, body.session_id, { signal })),
    ),
  ];
}

/** Clients read the number from this sentence and try again with it. */
function refuseLongLifetime(lifetimeS: number): void {
  if (lifetimeS <= sessionLifetimeS.max) return;
  throw new InstaVmError(
    "limit_exceeded",
    `VM lifetime cannot exceed ${sessionLifetimeS.max}s; ${lifetimeS}s were asked for.`,
  );
}
