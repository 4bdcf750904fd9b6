import { InstaVmError, bodyLimitBytes } from "@instavm/contract";
import type {
  Clock,
  Commands,
  Contexts,
  Executions,
  Files,
  IdempotentCalls,
  Keys,
  Log,
  Sessions,
  Vms,
} from "@instavm/core";
import { fastify } from "fastify";
import type { FastifyError, FastifyInstance } from "fastify";
import { Authenticator } from "./auth/authenticator.ts";
import { answerBrokenRequest } from "./http/broken-request.ts";
import { CallsInFlight } from "./http/calls-in-flight.ts";
import { answerErrors, sendError } from "./http/error-answer.ts";
import { acceptJsonBodies } from "./http/json-body.ts";
import { closeStalledExchanges } from "./http/stalled-exchanges.ts";
import { requestId } from "./http/request-id.ts";
import { RequestMetrics } from "./metrics.ts";
import { commandRoutes } from "./routes/command-routes.ts";
import { contextRoutes } from "./routes/context-routes.ts";
import { executeRoute } from "./routes/execute-route.ts";
import { executionRoutes } from "./routes/execution-routes.ts";
import { docsRoute, healthRoute, metricsRoute, openApiRoute } from "./routes/host-routes.ts";
import type { HostFacts } from "./routes/host-routes.ts";
import { keyRoutes } from "./routes/key-routes.ts";
import { notYetRoutes } from "./routes/not-yet.ts";
import { sessionRoutes } from "./routes/session-routes.ts";
import { transferRoutes } from "./routes/transfer-routes.ts";
import { vmFileRoutes } from "./routes/vm-file-routes.ts";
import { vmRoutes } from "./routes/vm-routes.ts";

/** What the API stands on. */
export interface ApiParts {
  readonly sessions: Sessions;
  readonly executions: Executions;
  readonly files: Files;
  readonly contexts: Contexts;
  readonly commands: Commands;
  readonly vms: Vms;
  readonly keys: Keys;
  readonly idempotentCalls: IdempotentCalls;
  readonly host: HostFacts;
  readonly clock: Pick<Clock, "nowMs" | "monotonicMs">;
  readonly log: Log;
  readonly patience?: Partial<Patience>;
}

/** How long slow clients are waited for, in ms. */
export interface Patience {
  /** For a request's headers. */
  readonly headersMs: number;
  /** For a whole request; one of many bytes gets more. */
  readonly requestMs: number;
  /** For the next request on an open connection. */
  readonly idleMs: number;
  /** For a body that has stopped to come, or an answer that is not read any more. */
  readonly stallMs: number;
  /** How often all these are looked at. */
  readonly checkEveryMs: number;
  /** Silence on a stream of events after which a comment is sent. */
  readonly heartbeatMs: number;
}

const defaultPatience: Patience = {
  headersMs: 15_000,
  requestMs: 120_000,
  idleMs: 75_000,
  stallMs: 120_000,
  checkEveryMs: 5000,
  heartbeatMs: 10_000,
};

/** Where to listen: a host name or address, and a port (0 = any free one). */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** The HTTP server. */
export interface Api extends AsyncDisposable {
  /** Resolves with the base URL. Throws `conflict` for a taken port, `forbidden` or `bad_request` for an impossible address. */
  listen(address: ListenAddress): Promise<string>;
  /** Takes no more connections, lets running calls end, aborts them after `graceMs`. Never rejects. */
  close(graceMs?: number): Promise<void>;
}

/** After their abort, calls have this long to answer. */
const abortedCallsMs = 1000;

/** Makes the HTTP server of these parts; it does not listen yet. */
export function createApi(parts: ApiParts): Api {
  const inFlight = new CallsInFlight();
  const app = createApp(parts);
  const authenticator = new Authenticator(parts.keys, parts.clock);
  const context = {
    authenticator,
    inFlight,
    idempotentCalls: parts.idempotentCalls,
    metrics: new RequestMetrics(),
  };
  const { heartbeatMs } = { ...defaultPatience, ...parts.patience };
  const routes = [
    ...sessionRoutes(parts.sessions, parts.clock),
    ...vmRoutes(parts.vms),
    ...keyRoutes(parts.keys, authenticator),
    executeRoute({ ...parts, heartbeatMs }),
    ...executionRoutes(parts.executions),
    ...transferRoutes(parts.files),
    ...vmFileRoutes({ ...parts, heartbeatMs }),
    ...contextRoutes(parts.contexts),
    ...commandRoutes({ ...parts, heartbeatMs }),
    healthRoute(parts.host),
    openApiRoute(parts.host),
    docsRoute(parts.host),
    metricsRoute(parts.host),
    ...notYetRoutes(),
  ];
  for (const route of routes) route.register(app, context);
  const close = async (graceMs = 5000): Promise<void> => closeApp(app, inFlight, graceMs);
  return {
    listen: async (address) => listen(app, address),
    close,
    [Symbol.asyncDispose]: async () => close(0),
  };
}

function createApp({ log, patience: given }: ApiParts): FastifyInstance {
  const patience = { ...defaultPatience, ...given };
  const app = fastify({
    bodyLimit: bodyLimitBytes,
    // Looked at by ourselves: a long upload is no slow request.
    requestTimeout: 0,
    keepAliveTimeout: patience.idleMs,
    http: { headersTimeout: patience.headersMs, connectionsCheckingInterval: patience.checkEveryMs },
    routerOptions: { ignoreDuplicateSlashes: true, caseSensitive: true, maxParamLength: 256 },
    requestIdHeader: false,
    genReqId: requestId,
    return503OnClosing: false,
    clientErrorHandler: answerBrokenRequest,
    frameworkErrors: (error, request, reply) => {
      sendError(unreadableUrl(error), { request, reply, log });
    },
  });
  closeStalledExchanges(app, patience);
  acceptJsonBodies(app);
  answerErrors(app, log);
  app.addHook("onRequest", async (request, reply) => {
    reply.header("x-request-id", request.id);
  });
  return app;
}

function unreadableUrl(cause: FastifyError): InstaVmError {
  if (cause.code === "FST_ERR_MAX_PARAM_LENGTH") {
    return new InstaVmError("not_found", "The path names nothing that can exist: a part of it is too long.", { cause });
  }
  return new InstaVmError("bad_request", `The request's URL cannot be read: ${cause.message.slice(0, 200)}`, { cause });
}

async function listen(app: FastifyInstance, { host, port }: ListenAddress): Promise<string> {
  try {
    return await app.listen({ host, port, listenTextResolver: (address) => address });
  } catch (cause) {
    throw listenError(cause, `${host}:${port}`);
  }
}

function listenError(cause: unknown, address: string): InstaVmError {
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  if (code === "EADDRINUSE") {
    const next = "Stop what listens there, or choose another address with --listen.";
    return new InstaVmError("conflict", `The server cannot listen on ${address}: the port is taken.`, { next, cause });
  }
  if (code === "EACCES") {
    const next = "Run it as root, or choose a port above 1023 with --listen.";
    return new InstaVmError("forbidden", `The server may not listen on ${address}.`, { next, cause });
  }
  const next = "Choose an address of this machine with --listen.";
  return new InstaVmError("bad_request", `The server cannot listen on ${address}: ${String(cause)}.`, { next, cause });
}

async function closeApp(app: FastifyInstance, inFlight: CallsInFlight, graceMs: number): Promise<void> {
  const stopping = (): void => inFlight.abortAll(new InstaVmError("unavailable", "The server is stopping."));
  const abort = setTimeout(stopping, graceMs);
  const cut = setTimeout(() => app.server.closeAllConnections(), graceMs + abortedCallsMs);
  // A connection whose call ends after this moment would stay open for the client's next request.
  const sweep = setInterval(() => app.server.closeIdleConnections(), 20);
  try {
    await app.close();
  } finally {
    clearInterval(sweep);
    clearTimeout(abort);
    clearTimeout(cut);
  }
}
