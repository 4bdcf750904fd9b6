import { z } from "zod";

/** What the header `Idempotency-Key` may hold: what the client chose to name one request. */
export const idempotencyKeySchema = z
  .string()
  .regex(/^[\x20-\x7e]{1,255}$/, "expected 1 to 255 printable ASCII characters")
  .meta({ examples: ["8e03978e-40d5-43dd-bc93-6894a57f9324"] });
