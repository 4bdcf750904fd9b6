import { z } from "zod";
import { directoryPathSchema } from "./files.ts";
import { vmIdSchema } from "./ids.ts";
import { envSchema } from "./sessions.ts";

/** Languages that have interpreters. */
export const contextLanguageSchema = z.enum(["python", "javascript", "bash"]);

/** A context's id: of one VM. Code without a context runs in `python`, which is there from the start, or `javascript`. */
export const contextIdSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,63}$/, "expected the id of a context")
  .meta({ examples: ["python-1"] })
  .brand<"ContextId">();
export type ContextId = z.infer<typeof contextIdSchema>;

/** Contexts that a VM can have at once, its default ones included. */
export const contextLimit = 32;

/** Body of POST /v1/vms/{vm_id}/contexts. */
export const createContextRequestSchema = z.object({
  language: contextLanguageSchema,
  cwd: directoryPathSchema.nullish().meta({ description: "Where its interpreter starts; without it the workdir." }),
  env: envSchema.nullish().meta({ description: "For its interpreter, on top of the session's." }),
});
export type CreateContextRequest = z.infer<typeof createContextRequestSchema>;

/** One interpreter in a VM, with its own state and working directory. */
export const contextSchema = z.object({
  id: contextIdSchema.meta({ description: "The same as `context_id`." }),
  context_id: contextIdSchema,
  vm_id: vmIdSchema,
  language: contextLanguageSchema,
  cwd: z.string().meta({ description: "Where its interpreter starts.", examples: ["/root"] }),
  is_busy: z.boolean().meta({ description: "Code runs in it." }),
});
export type Context = z.infer<typeof contextSchema>;

/** Answer of DELETE /v1/vms/{vm_id}/contexts/{context_id}. */
export const deletedContextSchema = z.object({
  message: z.string(),
  id: contextIdSchema,
  context_id: contextIdSchema,
  vm_id: vmIdSchema,
});
