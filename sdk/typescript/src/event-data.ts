import { InstaVmError } from "@instavm/contract";
import type { z } from "zod";

/** The data of an event as its schema describes it. Throws `bad_gateway` for data of another shape. */
export function readEvent<Schema extends z.ZodType>(schema: Schema, data: unknown): z.output<Schema> {
  const parsed = schema.safeParse(data);
  if (parsed.success) return parsed.data;
  throw new InstaVmError("bad_gateway", `An event of the stream is not InstaVM's: ${parsed.error.message}`, {
    cause: parsed.error,
  });
}
