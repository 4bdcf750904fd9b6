import type { ErrorCode } from "./errors.ts";
import { isEmptyObject, jsonSchema } from "./json-schema.ts";
import type { Operation } from "./operations.ts";

/** Every code that an operation can answer with: its own, and those that come with its key, parameters and body. */
export function errorCodesOf(operation: Operation): readonly ErrorCode[] {
  const { access, missing, errors, hasIdempotencyKey } = operation;
  // Also where none is wanted: then it must be an empty object.
  const readsBody = operation.method !== "GET";
  const takesQuery = !isEmptyObject(jsonSchema(operation.query, "input"));
  const codes: readonly ErrorCode[] = [
    // A URL or header that cannot be read.
    "bad_request",
    ...(access === "open" ? [] : (["unauthorized"] as const)),
    ...(access === "admin" ? (["forbidden"] as const) : []),
    ...(missing === undefined ? [] : [missing]),
    ...(readsBody || takesQuery ? (["invalid"] as const) : []),
    ...(readsBody ? (["too_large", "timeout"] as const) : []),
    ...(hasIdempotencyKey ? (["idempotency_key_reused"] as const) : []),
    ...errors,
    "internal",
    // The server is being stopped.
    "unavailable",
  ];
  return [...new Set(codes)];
}
