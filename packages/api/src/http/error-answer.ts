import { InstaVmError } from "@instavm/contract";
import type { ErrorBody } from "@instavm/contract";
import type { Log } from "@instavm/core";
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { KnownPaths } from "./known-paths.ts";
import { tooLarge } from "./too-large.ts";

/** Answers every failure of the app in the contract's form, and logs those that are the server's own. */
export function answerErrors(app: FastifyInstance, log: Log): void {
  app.setErrorHandler<FastifyError>((error, request, reply) =>
    sendError(toInstaVmError(error, request), { request, reply, log }),
  );
  const known = new KnownPaths();
  app.addHook("onRoute", ({ url, method }) => known.add(url, [method].flat()));
  app.setNotFoundHandler((request, reply) => {
    const [path = ""] = request.url.split("?", 1);
    const methods = known.methodsOf(path);
    if (methods.length > 0) reply.header("allow", methods.join(", "));
    return sendError(nothingThere(request.method, path.slice(0, 200), methods), { request, reply, log });
  });
}

function nothingThere(method: string, path: string, methods: readonly string[]): InstaVmError {
  if (methods.length === 0) return new InstaVmError("not_found", `${method} ${path} does not exist.`);
  return new InstaVmError("method_not_allowed", `${path} has no ${method}; it has ${methods.join(", ")}.`);
}

interface Exchange {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly log: Log;
}

/** Sends one error as the contract's body. */
export function sendError(error: InstaVmError, { request, reply, log }: Exchange): FastifyReply {
  report(error, { request, reply, log });
  // Fastify would close the connection behind its answer to a body that is too large.
  reply.removeHeader("connection");
  const retryAfterS = error.retryAfterS ?? defaultRetryAfterS(error);
  if (retryAfterS !== undefined) reply.header("retry-after", String(Math.ceil(retryAfterS)));
  return reply
    .code(error.status)
    .header("content-type", "application/json; charset=utf-8")
    .header("x-request-id", request.id)
    .send(JSON.stringify(errorBody(error, request.id)));
}

/** The contract's error body. */
export function errorBody(error: InstaVmError, requestId: string): ErrorBody {
  const errors = error.errors?.map(({ loc, msg, type }) => ({ loc: [...loc], msg, type }));
  return {
    detail: error.code === "internal" ? "Something went wrong inside the server." : error.message,
    code: error.code,
    next: error.next,
    request_id: requestId,
    ...(errors === undefined ? {} : { errors }),
  };
}

function report(error: InstaVmError, { request, reply, log }: Exchange): void {
  const fields = { requestId: request.id, method: request.method, route: request.routeOptions.url, code: error.code };
  if (reply.raw.destroyed) {
    log.info("client.left", fields);
  } else if (error.code === "internal") {
    log.error("request.failed", { ...fields, error: error.cause instanceof Error ? error.cause.stack : error.message });
  } else if (error.status >= 500) {
    log.warn("request.failed", { ...fields, error: error.message });
  }
}

function defaultRetryAfterS(error: InstaVmError): number | undefined {
  if (error.status !== 429 && error.status !== 503) return undefined;
  return error.retryable ? 1 : 60;
}

/** Any failure as one of the contract. */
export function toInstaVmError(error: unknown, request: FastifyRequest): InstaVmError {
  if (error instanceof InstaVmError) return error;
  const known = fromFastify(error, request);
  return (
    known ?? new InstaVmError("internal", error instanceof Error ? error.message : String(error), { cause: error })
  );
}

/** Fastify's own refusals; undefined for what is not one. */
function fromFastify(error: unknown, request: FastifyRequest): InstaVmError | undefined {
  if (!isFastifyError(error)) return undefined;
  switch (error.code) {
    case "FST_ERR_CTP_BODY_TOO_LARGE":
      return tooLarge(
        "The request's body",
        Number(request.headers["content-length"]),
        request.routeOptions.bodyLimit ?? 0,
      );
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
      return new InstaVmError(
        "bad_request",
        `The request's content type is ${request.headers["content-type"]?.slice(0, 100) ?? "not given"}; application/json is expected.`,
        { next: "Send the header content-type: application/json." },
      );
    default:
      return new InstaVmError("bad_request", `The request cannot be read: ${error.message.slice(0, 200)}`, {
        cause: error,
      });
  }
}

function isFastifyError(error: unknown): error is FastifyError {
  if (!(error instanceof Error) || !("code" in error) || !("statusCode" in error)) return false;
  return typeof error.statusCode === "number" && error.statusCode >= 400 && error.statusCode < 500;
}
