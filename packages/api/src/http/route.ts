import { Readable } from "node:stream";
import { InstaVmError } from "@instavm/contract";
import type { Operation } from "@instavm/contract";
import type { Caller, IdempotentCalls } from "@instavm/core";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { callerOf, keyOf, missingKey } from "../auth/authenticator.ts";
import type { Authenticator } from "../auth/authenticator.ts";
import type { RequestMetrics } from "../metrics.ts";
import { acceptBodies } from "./body-types.ts";
import type { CallsInFlight } from "./calls-in-flight.ts";
import { answerOnce, idempotencyKeyOf, JsonText } from "./idempotent-answer.ts";
import { validate } from "./validate.ts";

type Schema = z.ZodType;

/** A request whose parts have passed their schemas. */
export interface Call<Params extends Schema, Query extends Schema, Body extends Schema> {
  readonly params: z.output<Params>;
  readonly query: z.output<Query>;
  readonly body: z.output<Body>;
  /** Aborts when the client leaves or the server stops. */
  readonly signal: AbortSignal;
  readonly exchange: Exchange;
}

/** The HTTP side of a call, for what is no JSON. */
export interface Exchange {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
}

/** What a handler gives back that has answered by itself. */
export const answered: unique symbol = Symbol("answered");

/** A call with a valid key whose body has not been read. */
export interface StreamCall<Params extends Schema, Query extends Schema> extends Exchange {
  readonly params: z.output<Params>;
  readonly query: z.output<Query>;
  readonly caller: Caller;
  /** Aborts when the client leaves or the server stops. */
  readonly signal: AbortSignal;
}

/** A call with a valid key. */
export interface KeyCall<Params extends Schema, Query extends Schema, Body extends Schema> extends Call<
  Params,
  Query,
  Body
> {
  readonly caller: Caller;
}

/** What a handler gives back: the answer's object, or the same as a stream of JSON. */
type AnswerOf<Answer extends Schema> = z.input<Answer> | Readable | typeof answered;

/** What routes are registered with. */
export interface RouteContext {
  readonly authenticator: Authenticator;
  readonly inFlight: CallsInFlight;
  readonly idempotentCalls: IdempotentCalls;
  readonly metrics: RequestMetrics;
}

/** One operation with the code that answers it. */
export interface Route {
  register(app: FastifyInstance, context: RouteContext): void;
}

/** An operation that anybody may call. */
export function openRoute<P extends Schema, Q extends Schema, B extends Schema, A extends Schema>(
  operation: Operation<P, Q, B, A>,
  handler: (call: Call<P, Q, B>) => Promise<AnswerOf<A>>,
): Route {
  return {
    register: (app, context) =>
      register(app, {
        operation,
        context,
        answer: async (exchange, signal) => handler(readCall(operation, exchange, signal)),
      }),
  };
}

/** An operation that needs a key; a wrong one is refused before the body is read. */
export function keyRoute<P extends Schema, Q extends Schema, B extends Schema, A extends Schema>(
  operation: Operation<P, Q, B, A>,
  handler: (call: KeyCall<P, Q, B>) => Promise<AnswerOf<A>>,
): Route {
  return admittedRoute(operation, async ({ caller, signal, exchange, context }) => {
    const call = { ...readCall(operation, exchange, signal), caller };
    const idempotencyKey = operation.hasIdempotencyKey ? idempotencyKeyOf(exchange.request) : undefined;
    if (idempotencyKey === undefined) return handler(call);
    const named = { operation, idempotencyKey, ...call };
    return answerOnce(context.idempotentCalls, named, async (joined) => handler({ ...call, signal: joined }));
  });
}

/** An operation that needs a key and reads its body itself, while it comes. */
export function streamRoute<P extends Schema, Q extends Schema, A extends Schema>(
  operation: Operation<P, Q, Schema, A>,
  handler: (call: StreamCall<P, Q>) => Promise<AnswerOf<A>>,
): Route {
  return admittedRoute(operation, async ({ caller, signal, exchange }) =>
    handler({ ...readPlace(operation, exchange.request), ...exchange, caller, signal }),
  );
}

interface AdmittedCall {
  readonly context: RouteContext;
  readonly caller: Caller;
  readonly signal: AbortSignal;
  readonly exchange: Exchange;
}

function admittedRoute(operation: Operation, answer: (call: AdmittedCall) => Promise<unknown>): Route {
  return {
    register: (app, context) => {
      const callers = new WeakMap<FastifyRequest, Caller>();
      register(app, {
        operation,
        context,
        admit: async (request) => {
          const caller = await callerOfHeaders(operation, request, context.authenticator);
          if (caller !== undefined) callers.set(request, caller);
        },
        answer: async (exchange, signal) => {
          const { request } = exchange;
          const caller = callers.get(request) ?? (await callerOfBody(request, context.authenticator));
          return answer({ caller, signal, exchange, context });
        },
      });
    },
  };
}

interface Registration {
  readonly operation: Operation;
  readonly context: RouteContext;
  /** Runs before the body is read. */
  readonly admit?: (request: FastifyRequest) => Promise<void>;
  readonly answer: (exchange: Exchange, signal: AbortSignal) => Promise<unknown>;
}

function register(app: FastifyInstance, registration: Registration): void {
  const { bodyType = "application/json" } = registration.operation;
  if (bodyType === "application/json") addRoutes(app, registration);
  else
    void app.register(async (scope) => {
      acceptBodies(scope, bodyType);
      addRoutes(scope, registration);
    });
}

function addRoutes(app: FastifyInstance, { operation, context, admit, answer }: Registration): void {
  const path = operation.path.replaceAll(/\{(\w+)\}/g, ":$1");
  const label = `${operation.method} ${operation.path}`;
  for (const url of operation.slashMatters ? [path] : [path, `${path}/`]) {
    app.route({
      method: operation.method,
      url,
      bodyLimit: operation.bodyLimitBytes,
      onRequest: async (request) => admit?.(request),
      onResponse: async (_request, reply) => context.metrics.record(label, reply.statusCode, reply.elapsedTime),
      handler: async (request, reply) =>
        sendAnswer(reply, await context.inFlight.run(reply, async (signal) => answer({ request, reply }, signal))),
    });
  }
}

async function sendAnswer(reply: FastifyReply, answer: unknown): Promise<FastifyReply> {
  if (answer === answered) return reply;
  reply.header("content-type", "application/json; charset=utf-8");
  if (answer instanceof JsonText) return reply.send(answer.text);
  return reply.send(answer instanceof Readable ? answer : JSON.stringify(answer));
}

function readCall<P extends Schema, Q extends Schema, B extends Schema>(
  operation: Operation<P, Q, B>,
  exchange: Exchange,
  signal: AbortSignal,
): Call<P, Q, B> {
  const { request } = exchange;
  const place = readPlace(operation, request);
  // None at all is an empty object; `null` is none.
  const sent: unknown = request.body === undefined ? {} : request.body;
  return { ...place, body: validate(operation.body, sent, "body"), signal, exchange };
}

function readPlace<P extends Schema, Q extends Schema>(
  operation: Operation<P, Q>,
  request: FastifyRequest,
): { readonly params: z.output<P>; readonly query: z.output<Q> } {
  const params = z.safeParse(operation.params, request.params);
  if (!params.success) throw missingThing(operation, request);
  return { params: params.data, query: validate(operation.query, request.query, "query") };
}

/** Path parameters that nothing can have are a thing that does not exist. */
function missingThing(operation: Operation, request: FastifyRequest): InstaVmError {
  const path = request.url.split("?", 1)[0]?.slice(0, 200) ?? "";
  return new InstaVmError(
    operation.missing ?? "not_found",
    `${path} names nothing that can exist: its id is malformed.`,
  );
}

/** Undefined when the headers hold no key but the body may. */
async function callerOfHeaders(
  operation: Operation,
  request: FastifyRequest,
  authenticator: Authenticator,
): Promise<Caller | undefined> {
  if (operation.access === "key-or-body" && keyOf(request.headers) === undefined) return undefined;
  const caller = await callerOf(request.headers, authenticator);
  if (operation.access === "admin" && caller.role !== "admin") {
    throw new InstaVmError("forbidden", `${operation.summary} needs an admin's key.`);
  }
  return caller;
}

async function callerOfBody(request: FastifyRequest, authenticator: Authenticator): Promise<Caller> {
  const body = z.safeParse(z.object({ api_key: z.string() }), request.body);
  if (!body.success) throw missingKey();
  return authenticator.authenticate(body.data.api_key);
}
