import { z } from "zod";

/** Answer of GET /health. */
export const healthResponseSchema = z.object({
  status: z.literal("ok"),
  version: z.string(),
  engine: z.string(),
  engine_version: z.string(),
  accelerator: z.enum(["kvm", "tcg", "none"]),
  accelerator_reason: z.string(),
});
export type HealthResponse = z.infer<typeof healthResponseSchema>;
