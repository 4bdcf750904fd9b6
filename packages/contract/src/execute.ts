import { z } from "zod";
import { contextIdSchema, contextLanguageSchema } from "./contexts.ts";
import { errorBodySchema } from "./error-body.ts";
import { sessionIdSchema, vmIdSchema } from "./ids.ts";
import { executeTimeoutS } from "./limits.ts";

/** What an execute can be asked to run; without it the guest decides. */
export const executeLanguageSchema = contextLanguageSchema;
export type ExecuteLanguage = z.infer<typeof executeLanguageSchema>;

/** Body of POST /execute. The command's length limit is checked by the route: it is a 413, not a 422. */
export const executeRequestSchema = z.object({
  command: z
    .string()
    .min(1, "expected some code, got an empty text")
    .regex(/^[^\u0000]*$/, "expected text without NUL characters")
    .refine((command) => command.isWellFormed(), "expected Unicode text, got half of a surrogate pair")
    .meta({ examples: ["print(6 * 7)"] }),
  session_id: sessionIdSchema,
  language: executeLanguageSchema
    .nullish()
    .meta({ description: "Without it: Python if it compiles, else Bash; `ls` and the like are Bash." }),
  context_id: contextIdSchema.nullish().meta({
    description:
      "The context to run in, whose language it is then. Without it the language's default context; Bash gets a fresh shell.",
  }),
  timeout: z
    .number()
    .min(executeTimeoutS.min)
    .max(executeTimeoutS.max)
    .default(executeTimeoutS.default)
    .meta({ description: "Seconds. The answer comes a little earlier, with `timed_out` and exit code 124." }),
  vault_ids: z.array(z.unknown()).max(0, "expected no vaults: this release has none").nullish(),
});
export type ExecuteRequestBody = z.infer<typeof executeRequestSchema>;

/** One form of one thing that code displayed. A thing that has several forms is listed once for each of them. */
export const displayedSchema = z.object({
  type: z
    .string()
    .meta({ description: "A MIME type, such as `text/plain`, `text/html`, `image/png`.", examples: ["image/png"] }),
  data: z.string().meta({ description: "Text as it is; images but SVG, audio, video, fonts and PDF as base64." }),
  display: z.int().meta({ description: "Counts the things from 0; the same for all forms of one." }),
  is_result: z.boolean().meta({ description: "The value of the last expression." }),
});
export type Displayed = z.infer<typeof displayedSchema>;

/** What code raised. */
export const codeErrorSchema = z.object({
  name: z.string().meta({ examples: ["ZeroDivisionError"] }),
  value: z.string(),
  traceback: z.string().meta({ description: "Also in `stderr`." }),
});
export type CodeError = z.infer<typeof codeErrorSchema>;

/** How code ended. */
const exitFields = {
  session_id: sessionIdSchema,
  vm_id: vmIdSchema,
  language: contextLanguageSchema,
  success: z.boolean().meta({ description: "`exit_code` is 0.", examples: [true] }),
  exit_code: z.int().meta({ examples: [0] }),
  timed_out: z.boolean(),
  truncated: z.boolean().meta({ description: "Some output beyond the limit was dropped." }),
  context_lost: z
    .boolean()
    .meta({ description: "The interpreter ended with its state; the next call gets a new one." }),
  out_of_memory: z.boolean().meta({ description: "The VM's kernel ended a process for want of memory." }),
  execution_time: z.number().meta({ description: "Seconds, wall clock." }),
  cpu_time: z.number().meta({ description: "Seconds." }),
  vm_start: z
    .enum(["pool", "fork", "clone", "boot"])
    .nullable()
    .meta({ description: "Set when this call had to start a VM." }),
  vm_ready_ms: z.number().nullable().meta({ description: "How long that took, in ms." }),
  error: codeErrorSchema.nullable().meta({ description: "Set when Python or JavaScript raised." }),
};

/** Answer of POST /execute. A program that fails is a success of the call. */
export const executeResponseSchema = z.object({
  ...exitFields,
  stdout: z.string().meta({
    description: "What the program printed, then the value of the last expression.",
    examples: ["42\n"],
  }),
  stderr: z.string(),
  output: z.string().meta({ description: "The same text as `stdout`.", examples: ["42\n"] }),
  results: z
    .array(displayedSchema)
    .meta({ description: "What the code displayed, the value of its last expression among it." }),
});
export type ExecuteResponse = z.infer<typeof executeResponseSchema>;

/** Data of the last event of a stream. */
export const executeExitSchema = z.object(exitFields);
export type ExecuteExit = z.infer<typeof executeExitSchema>;

const textEventSchema = z.object({ text: z.string() });

/**
 * Events of POST /execute with `Accept: text/event-stream`, and their data as JSON. The last one is `exit`, or `error`
 * when something other than the code failed; comments in between say that the stream lives. There is no cap on the
 * output: a client that reads slowly slows the code, and one that leaves ends it.
 */
export const executeStreamEventSchemas = {
  stdout: textEventSchema,
  stderr: textEventSchema,
  result: displayedSchema,
  exit: executeExitSchema,
  error: errorBodySchema,
} as const;
export type ExecuteStreamEvents = {
  readonly [Name in keyof typeof executeStreamEventSchemas]: z.infer<(typeof executeStreamEventSchemas)[Name]>;
};
