import { z } from "zod";
import { executeRequestSchema } from "./execute.ts";
import { sessionIdSchema, vmIdSchema } from "./ids.ts";
import { listLimit } from "./limits.ts";
import { timeSchema } from "./time.ts";

/** An execution's id: a UUID in lower case. */
export const executionIdSchema = z
  .uuid()
  .toLowerCase()
  .meta({ examples: ["8a6e0804-2bd0-4672-b79d-d97027f9071a"] })
  .brand<"ExecutionId">();
export type ExecutionId = z.infer<typeof executionIdSchema>;

/** What is kept of code in the background. */
export const executionLimits = {
  /** Of stdout and stderr, each, from its beginning. */
  keptOutputBytes: 1024 * 1024,
  /** Ended ones; older ones are forgotten. */
  keptPerKey: 1000,
  keptDays: 7,
  runningPerKey: 64,
} as const;

/** Body of POST /execute_async. */
export const executeAsyncRequestSchema = executeRequestSchema;

const executionFields = {
  task_id: executionIdSchema,
  execution_id: executionIdSchema.meta({ description: "The same as `task_id`." }),
  session_id: sessionIdSchema,
  vm_id: vmIdSchema.nullable(),
  status: z.enum(["running", "completed", "failed", "lost"]).meta({
    description:
      "`completed`: the code ended, whatever its exit code. `failed`: it was not run to an end. `lost`: the VM or the server died meanwhile.",
  }),
  is_complete: z.boolean().meta({ description: "`status` is not `running`." }),
  language: z.enum(["python", "javascript", "bash"]).nullable(),
  exit_code: z.int().nullable().meta({ description: "Null unless `status` is `completed`." }),
  timed_out: z.boolean(),
  truncated: z.boolean().meta({ description: "Output beyond the first 1048576 bytes was dropped." }),
  execution_time: z.number().nullable().meta({ description: "Seconds, wall clock." }),
  cpu_time: z.number().nullable().meta({ description: "Seconds." }),
  created_at: timeSchema,
  ended_at: timeSchema.nullable(),
  detail: z.string().nullable().meta({ description: "Why it failed or is lost." }),
};

/** One execution in a list: without its output. */
export const executionSummarySchema = z.object(executionFields);
export type ExecutionSummary = z.infer<typeof executionSummarySchema>;

/** Answer of POST /execute_async and GET /v1/executions/{task_id}. */
export const executionSchema = z.object({
  ...executionFields,
  serialized_stdout: z.string().meta({ description: "Plain text: what came until now." }),
  serialized_stderr: z.string().meta({ description: "Plain text; behind it, why the execution failed or is lost." }),
});
export type Execution = z.infer<typeof executionSchema>;

/** Query of GET /v1/executions. */
export const listExecutionsQuerySchema = z.object({
  session_id: sessionIdSchema.optional(),
  limit: z.coerce.number().int().min(1).max(listLimit.max).default(listLimit.default),
});
