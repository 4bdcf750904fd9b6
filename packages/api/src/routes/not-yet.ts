import { InstaVmError } from "@instavm/contract";
import { callerOf } from "../auth/authenticator.ts";
import type { Route } from "../http/route.ts";

interface LaterGroup {
  /** What this release lacks, as the end of "This release has no …". */
  readonly lacks: string;
  /** Who may know: anybody, or the holder of a key. */
  readonly access: "open" | "key";
  /** Methods, then the path with `:name` for each parameter and `::` for a colon. */
  readonly paths: readonly `${string} /${string}`[];
}

const crud = "GET PATCH DELETE";
const anyMethod = "GET POST PUT PATCH DELETE OPTIONS";

/** What the contract names and this release cannot do. A row goes when its operation comes. */
const later: readonly LaterGroup[] = [
  { lacks: "app URLs", access: "key", paths: ["GET /v1/sessions/app-url/:sid"] },
  {
    lacks: "suspended VMs",
    access: "key",
    paths: ["POST /v1/vms/:vm/suspend", "POST /v1/vms/:vm/resume"],
  },
  {
    lacks: "snapshots of VMs",
    access: "key",
    paths: ["POST /v1/vms/:vm/snapshot", "GET POST /v1/snapshots", "GET DELETE /v1/snapshots/:id"],
  },
  { lacks: "staged environments", access: "key", paths: ["POST /v1/vms/:vm/stage-env"] },
  {
    lacks: "volumes",
    access: "key",
    paths: [
      "GET POST /v1/vms/:vm/volumes",
      "DELETE /v1/vms/:vm/volumes/:volume",
      "GET POST /v1/volumes",
      `${crud} /v1/volumes/:id`,
      "GET POST /v1/volumes/:id/checkpoints",
      "DELETE /v1/volumes/:id/checkpoints/:checkpoint",
      "GET DELETE /v1/volumes/:id/files",
      "POST /v1/volumes/:id/files/upload",
      "POST /v1/volumes/:id/files/download",
    ],
  },
  { lacks: "templates", access: "open", paths: ["GET /v1/templates", "GET /v1/templates/:slug"] },
  { lacks: "templates", access: "key", paths: ["POST /v1/templates", "POST /v1/templates/:slug/runs"] },
  {
    lacks: "way out of a VM, and so no egress rules",
    access: "key",
    paths: ["GET POST /v1/egress/session/:sid", "GET POST /v1/egress/vm/:vm"],
  },
  { lacks: "shares", access: "key", paths: ["GET POST /v1/shares", `${crud} /v1/shares/:id`] },
  {
    lacks: "custom domains",
    access: "key",
    paths: [
      "GET POST /v1/custom-domains",
      "GET DELETE /v1/custom-domains/:id",
      "GET /v1/custom-domains/:id/health",
      "POST /v1/custom-domains/:id/verify",
    ],
  },
  {
    lacks: "terminals",
    access: "key",
    paths: [
      "GET POST /v1/sessions/:sid/pty/sessions",
      "GET DELETE /v1/sessions/:sid/pty/sessions/:pty",
      "POST /v1/sessions/:sid/pty/sessions/:pty/resize",
      "GET POST /v1/vms/:vm/pty/sessions",
      "GET DELETE /v1/vms/:vm/pty/sessions/:pty",
      "POST /v1/vms/:vm/pty/sessions/:pty/resize",
    ],
  },
  {
    lacks: "terminals",
    // The key is in the query there.
    access: "open",
    paths: ["GET /v1/sessions/:sid/pty/:pty/connect", "GET /v1/vms/:vm/pty/:pty/connect"],
  },
  { lacks: "SSH gateway", access: "key", paths: ["POST /v1/ssh-keys", "DELETE /v1/ssh-keys/:id"] },
  {
    lacks: "vaults",
    access: "key",
    paths: [
      "GET POST /v1/vaults",
      "GET /v1/vaults/catalog",
      `${crud} /v1/vaults/:id`,
      "GET /v1/vaults/:id/discover",
      "GET /v1/vaults/:id/request-logs",
      "GET POST /v1/vaults/:id/credentials",
      "DELETE /v1/vaults/:id/credentials/:credential",
      "POST /v1/vaults/:id/credentials/:credential/rotate",
      "GET POST /v1/vaults/:id/services",
      "POST /v1/vaults/:id/services::from_template",
      "DELETE /v1/vaults/:id/services/:service",
    ],
  },
  {
    lacks: "browsers",
    access: "key",
    paths: [
      "GET POST /v1/browser/sessions",
      "GET DELETE /v1/browser/sessions/:id",
      ...["navigate", "click", "type", "fill", "scroll", "wait", "screenshot", "extract", "content"].map(
        (action) => `POST /v1/browser/interactions/${action}` as const,
      ),
    ],
  },
  {
    lacks: "desktops",
    access: "key",
    paths: ["GET /v1/computeruse/:sid/viewer-url", `${anyMethod} /v1/computeruse/:sid/*`],
  },
  {
    lacks: "recordings",
    access: "key",
    paths: ["GET /v1/recordings", "GET DELETE /v1/recordings/:id", "GET /v1/recordings/:id/download"],
  },
  {
    lacks: "tapes",
    access: "key",
    paths: [
      "POST /v1/sessions/:sid/tape/start",
      "GET /v1/tapes",
      "GET DELETE /v1/tapes/:id",
      "POST /v1/tapes/:id/stop",
      "GET POST /v1/tapes/:id/events",
      "GET /v1/tapes/:id/diff",
      "POST /v1/tapes/:id/branch",
      "GET /v1/tapes/:id/lanes",
      "GET /v1/tapes/:id/export",
    ],
  },
  {
    lacks: "webhooks",
    access: "key",
    paths: [
      "GET POST /v1/webhooks/endpoints",
      `${crud} /v1/webhooks/endpoints/:id`,
      "POST /v1/webhooks/endpoints/:id/rotate-secret",
      "POST /v1/webhooks/endpoints/:id/test",
      "POST /v1/webhooks/endpoints/:id/verify",
      "GET /v1/webhooks/deliveries",
      "POST /v1/webhooks/deliveries/:id/replay",
    ],
  },
  {
    lacks: "audit trail",
    access: "key",
    paths: ["GET /v1/audit/events", "GET /v1/audit/events/:id", "GET /v1/audit/catalog"],
  },
  {
    lacks: "accounts of usage over time",
    access: "key",
    paths: [
      "GET /v1/users/me/usage-breakdown",
      "GET /v1/credits/allocation",
      "GET /v1/credits/summary",
      "GET /v1/credits/usage",
      "GET /v1/credits/check",
      "GET /v1/credits/rates",
      "GET /v1/credits/usage/trends",
      "GET /v1/credits/usage/forecasting",
    ],
  },
  {
    lacks: "login through a browser",
    access: "open",
    paths: ["POST /api/cli-auth/start", "POST /api/cli-auth/exchange"],
  },
];

/** The calls of the contract that this release cannot serve: each says so, whatever the body. */
export function notYetRoutes(): readonly Route[] {
  return later.flatMap((group) => group.paths.map((path) => notYetRoute(group, path)));
}

function notYetRoute({ lacks, access }: LaterGroup, line: string): Route {
  const start = line.indexOf("/");
  const methods = line.slice(0, start).trim().split(" ");
  const path = line.slice(start);
  const shown = path
    .replaceAll("::", "\n")
    .replaceAll(/:(\w+)/g, "{$1}")
    .replaceAll("\n", ":");
  return {
    register: (app, { authenticator }) => {
      for (const url of path.endsWith("*") ? [path] : [path, `${path}/`]) {
        app.route({
          method: methods,
          url,
          // Before the body is read: it may be of any kind and size.
          onRequest: async (request) => {
            if (access === "key") await callerOf(request.headers, authenticator);
            throw new InstaVmError(
              "not_implemented",
              `This release has no ${lacks}; ${request.method} ${shown} cannot work yet.`,
            );
          },
          handler: () => undefined,
        });
      }
    },
  };
}
