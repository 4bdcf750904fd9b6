import { idempotencyKeySchema } from "./idempotency.ts";
import { type JsonSchema, jsonSchema } from "./json-schema.ts";
import { idempotencyLimits } from "./limits.ts";
import type { Operation } from "./operations.ts";

/** A header that an operation heeds. None is required. */
export interface HeaderParameter {
  readonly name: string;
  readonly description: string;
  readonly schema: JsonSchema;
}

const range: HeaderParameter = {
  name: "Range",
  description: "One range of bytes; several, and units other than bytes, are answered with the whole.",
  schema: { type: "string", examples: ["bytes=0-1023"] },
};

const { keptHours, keptPerKey } = idempotencyLimits;
const idempotencyKey: HeaderParameter = {
  name: "Idempotency-Key",
  description: `Makes a repetition safe: the same key with the same request is answered as the first time, for ${keptHours} hours; while the first still runs, the repetition waits for it. With another request it is \`idempotency_key_reused\`. A call that failed is not remembered. Each API key has its own, of which the newest ${keptPerKey} are kept.`,
  schema: jsonSchema(idempotencyKeySchema, "input"),
};

/** The headers of one operation, beside those that all have. */
export function headersOf({ hasRanges, hasIdempotencyKey }: Operation): readonly HeaderParameter[] {
  return [...(hasRanges ? [range] : []), ...(hasIdempotencyKey ? [idempotencyKey] : [])];
}
