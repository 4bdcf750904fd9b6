import { z } from "zod";

const fieldErrorSchema = z.object({
  loc: z.array(z.union([z.string(), z.number()])).meta({ description: 'Where: ["body", "timeout"].' }),
  msg: z.string(),
  type: z.string(),
});

/** The body of every answer that is not a success. */
export const errorBodySchema = z.object({
  detail: z.string().meta({ description: "One sentence: subject, what was seen, what was expected." }),
  code: z.string().meta({ description: "Stable; never changes its meaning." }),
  next: z.string().meta({ description: "What to do next." }),
  request_id: z.string(),
  errors: z.array(fieldErrorSchema).optional(),
});
export type ErrorBody = z.infer<typeof errorBodySchema>;
