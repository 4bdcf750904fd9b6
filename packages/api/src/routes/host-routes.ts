import { createHash } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { InstaVmError, openApiDocument, operations } from "@instavm/contract";
import type { HostStatus } from "@instavm/core";
import type { FastifyInstance } from "fastify";
import { callerOf } from "../auth/authenticator.ts";
import { apiPage } from "../docs/api-page.ts";
import { pageStyle } from "../docs/style.ts";
import { openRoute } from "../http/route.ts";
import type { Route, RouteContext } from "../http/route.ts";
import { hostLines } from "../metrics.ts";

/** What the routes about the server itself show. */
export interface HostFacts {
  readonly version: string;
  readonly status: () => HostStatus | Promise<HostStatus>;
}

/** GET /health. */
export function healthRoute({ version, status }: HostFacts): Route {
  return openRoute(operations.health, async () => {
    const { facts } = await status();
    return {
      status: "ok" as const,
      version,
      engine: facts.name,
      engine_version: facts.version,
      accelerator: facts.accelerator,
      accelerator_reason: facts.acceleratorReason,
    };
  });
}

/** GET /openapi.json, for everybody. */
export function openApiRoute({ version }: HostFacts): Route {
  const text = JSON.stringify(openApiDocument(version));
  return {
    register: (app) =>
      getText(app, "/openapi.json", { type: "application/json; charset=utf-8", text: async () => text }),
  };
}

/** GET /docs, the API for people, for everybody. */
export function docsRoute({ version }: HostFacts): Route {
  const text = apiPage(version);
  const style = createHash("sha256").update(pageStyle).digest("base64");
  // It needs nothing but its own style, and nobody may frame it.
  const policy = `default-src 'none'; style-src 'sha256-${style}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'`;
  return {
    register: (app) =>
      getText(app, "/docs", {
        type: "text/html; charset=utf-8",
        headers: { "content-security-policy": policy, "x-content-type-options": "nosniff" },
        text: async () => text,
      }),
  };
}

/** GET /metrics, Prometheus text for an admin's key. */
export function metricsRoute({ version, status }: HostFacts): Route {
  return {
    register: (app, context) =>
      getText(app, "/metrics", {
        type: "text/plain; version=0.0.4; charset=utf-8",
        text: async (headers) => {
          await requireAdmin(headers, context);
          const running = `instavm_http_requests_running ${context.inFlight.count}`;
          const lines = [...hostLines(await status(), version), ...context.metrics.lines(), running];
          return `${lines.join("\n")}\n`;
        },
      }),
  };
}

interface TextRoute {
  readonly type: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly text: (headers: IncomingHttpHeaders) => Promise<string>;
}

function getText(app: FastifyInstance, path: string, { type, headers = {}, text }: TextRoute): void {
  for (const url of [path, `${path}/`]) {
    app.get(url, async (request, reply) =>
      reply.headers({ ...headers, "content-type": type }).send(await text(request.headers)),
    );
  }
}

async function requireAdmin(headers: IncomingHttpHeaders, { authenticator }: RouteContext): Promise<void> {
  const { role } = await callerOf(headers, authenticator);
  if (role !== "admin") throw new InstaVmError("forbidden", "Metrics need an admin's key.");
}
