import type { ErrorCode } from "./errors.ts";
import { isEmptyObject, jsonSchema } from "./json-schema.ts";
import type { Operation } from "./operations.ts";

/** Every code that an operation can answer with: its own, and those that come with its key, parameters and body. */
export function errorCodesOf(operation: Operation): readonly ErrorCode[] {
  const { access, missing, errors, hasIdempotencyKey } = operation;
  const takesBody = !isEmptyObject(jsonSchema(operation.body, "input"));
  const takesQuery = !isEmptyObject(jsonSchema(operation.query, "input"));
  const codes: readonly ErrorCode[] = [
    // A URL or header that cannot be read.
    "bad_request",
    ...(access === "open" ? [] : (["unauthorized"] as const)),
    ...(access === "admin" ? (["forbidden"] as const) : []),
    ...(missing === undefined ? [] : [missing]),
    ...(takesBody || takesQuery ? (["invalid"] as const) : []),
    // A body is read, and dropped, also where none is wanted.
    ...(operation.method === "GET" ? [] : (["too_large", "timeout"] as const)),
    ...(hasIdempotencyKey ? (["invalid", "idempotency_key_reused"] as const) : []),
    ...errors,
    "internal",
    // The server is being stopped.
    "unavailable",
  ];
  return [...new Set(codes)];
}
