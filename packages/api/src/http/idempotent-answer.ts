import { createHash } from "node:crypto";
import { idempotencyKeySchema } from "@instavm/contract";
import type { Operation } from "@instavm/contract";
import type { Caller, IdempotentCalls } from "@instavm/core";
import type { FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { validate } from "./validate.ts";

const headerName = "Idempotency-Key";

/** An answer that is JSON text already. */
export class JsonText {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** The request's `Idempotency-Key`; undefined without one. Throws `invalid` for one that is too long or unprintable. */
export function idempotencyKeyOf({ headers }: FastifyRequest): string | undefined {
  const given = headers[headerName.toLowerCase()];
  if (given === undefined) return undefined;
  return validate(namedHeader, { [headerName]: given }, "header")[headerName];
}

const namedHeader = z.object({ [headerName]: idempotencyKeySchema });

/** A call with an `Idempotency-Key`, its parts validated. */
export interface NamedRequest {
  readonly operation: Operation;
  readonly idempotencyKey: string;
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
  readonly caller: Caller;
  readonly signal: AbortSignal;
  readonly exchange: { readonly reply: FastifyReply };
}

/**
 * Answers a call as the first one of its name was answered, or makes the answer. `make` must leave the exchange alone:
 * the client who began may have left while others wait.
 */
export async function answerOnce(
  calls: IdempotentCalls,
  request: NamedRequest,
  make: (signal: AbortSignal) => Promise<unknown>,
): Promise<JsonText> {
  const { caller, idempotencyKey, signal, exchange } = request;
  const named = { keyId: caller.keyId, idempotencyKey, requestHash: hashOf(request), signal };
  const { text, isRepeat } = await calls.run(named, async (joined) => JSON.stringify(await make(joined)));
  if (isRepeat) exchange.reply.header("idempotent-replayed", "true");
  return new JsonText(text);
}

/** The validated request decides: how its JSON was written, and which defaults were left out, make no difference. */
function hashOf({ operation, params, query, body }: NamedRequest): string {
  const whole = JSON.stringify([operation.method, operation.path, params, query, body]);
  return createHash("sha256").update(whole).digest("hex");
}
