import { z } from "zod";
import { sessionIdSchema, vmIdSchema } from "./ids.ts";
import { envLimits, listLimit, metadataLimitBytes, sessionLifetimeS } from "./limits.ts";
import { defaultShape, memoryMibSchema, vcpuCountSchema } from "./shape.ts";
import { timeSchema } from "./time.ts";

const encoder = new TextEncoder();

/** Environment variables of a session: what a shell takes as a name, and text without NUL. */
export const envSchema = z
  .record(
    z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "expected a name of letters, digits and _ that starts with no digit"),
    z.string().regex(/^[^\u0000]*$/, "expected text without NUL characters"),
  )
  .refine((env) => Object.keys(env).length <= envLimits.variables, `expected at most ${envLimits.variables} variables`)
  .refine(
    (env) => encoder.encode(Object.entries(env).flat().join("")).length <= envLimits.bytes,
    `expected at most ${envLimits.bytes} bytes of names and values`,
  )
  .meta({ examples: [{ GREETING: "hello" }] });

/** What a caller wants to remember about a session: any JSON object. */
export const metadataSchema = z
  .record(z.string(), z.unknown())
  .refine(
    (metadata) => jsonBytes(metadata) <= metadataLimitBytes,
    `expected at most ${metadataLimitBytes} bytes of JSON`,
  )
  .meta({ examples: [{ team: "blue" }] });

/** Length as JSON; Infinity for what is nested too deeply to be written. */
function jsonBytes(value: unknown): number {
  try {
    return encoder.encode(JSON.stringify(value)).length;
  } catch {
    return Infinity;
  }
}

/** Body of POST /v1/sessions/session. The lifetime's upper limit is checked by the route: it is a 403, not a 422. */
export const createSessionRequestSchema = z.object({
  api_key: z.string().optional().meta({ description: "Instead of the X-API-Key header." }),
  vm_lifetime_seconds: z
    .int()
    .min(sessionLifetimeS.min)
    .default(sessionLifetimeS.default)
    .meta({ maximum: sessionLifetimeS.max, description: "Counted from the creation; then the session ends." }),
  memory_mb: memoryMibSchema.default(defaultShape.memoryMib).meta({ description: "The VM's memory, in MiB." }),
  vcpu_count: vcpuCountSchema.default(defaultShape.vcpuCount),
  metadata: metadataSchema
    .nullish()
    .meta({ description: "What the caller wants to remember; lists are filtered by it." }),
  env: envSchema.nullish().meta({ description: "Environment variables of everything that runs in the VM." }),
});
export type CreateSessionRequest = z.infer<typeof createSessionRequestSchema>;

/** Whether a session can be used. A session whose VM was lost is still active: the next execute starts another. */
export const sessionStatusSchema = z.enum(["active", "suspended", "killed", "expired"]);
export type SessionStatus = z.infer<typeof sessionStatusSchema>;

/** How the VM came to run: handed over from the pool, forked, cloned from files, or booted. */
export const startKindSchema = z.enum(["pool", "fork", "clone", "boot"]);

const sessionFields = {
  id: sessionIdSchema.meta({ description: "The same as `session_id`." }),
  session_id: sessionIdSchema,
  vm_id: vmIdSchema.nullable().meta({ description: "The VM that serves it now, or served it last." }),
  status: sessionStatusSchema,
  created_at: timeSchema,
  expires_at: timeSchema.meta({ description: "When its lifetime is over." }),
};

/** Answer of POST /v1/sessions/session: the VM is ready. */
export const createSessionResponseSchema = z.object({
  ...sessionFields,
  start: startKindSchema.nullable().meta({ description: "How its VM came to run." }),
  ready_ms: z.number().nullable().meta({ description: "How long the VM took to be ready, in ms." }),
});
export type CreateSessionResponse = z.infer<typeof createSessionResponseSchema>;

/** Answer of GET /v1/sessions/session/{session_id}. */
export const sessionResponseSchema = z.object({
  ...sessionFields,
  vm_alive: z.boolean(),
  memory_mb: z.int(),
  vcpu_count: z.int(),
  vm_lifetime_seconds: z.int(),
  metadata: z.record(z.string(), z.unknown()),
});
export type SessionResponse = z.infer<typeof sessionResponseSchema>;

/** Answer of GET /v1/sessions/status/{session_id}. Usable when `exists && (!vm_assigned || vm_alive)`. */
export const sessionStatusResponseSchema = z.object({
  exists: z.boolean(),
  session_id: sessionIdSchema,
  vm_assigned: z.boolean(),
  vm_alive: z.boolean(),
  vm_id: vmIdSchema.nullable(),
  vm_status: z.enum(["active", "suspended", "killed"]).nullable(),
  uptime_seconds: z.int(),
  expires_in_seconds: z.int(),
  created_at: timeSchema.nullable(),
});
export type SessionStatusResponse = z.infer<typeof sessionStatusResponseSchema>;

/** Query of GET /v1/sessions/sandboxes. */
export const listSandboxesQuerySchema = z.object({
  metadata: z
    .string()
    .optional()
    .meta({
      description: "A JSON object; only sandboxes whose metadata holds all of it are listed.",
      contentMediaType: "application/json",
      contentSchema: { type: "object" },
      examples: ['{"team":"blue"}'],
    }),
  limit: z.coerce.number().int().min(1).max(listLimit.max).default(listLimit.default),
});

/** One live sandbox in a list. */
export const sandboxSchema = z.object({
  sandbox_id: vmIdSchema.nullable(),
  vm_id: vmIdSchema.nullable(),
  session_id: sessionIdSchema,
  name: z.string().nullable(),
  metadata: z.record(z.string(), z.unknown()),
  status: z.enum(["creating", "active", "suspending", "suspended", "resuming", "terminated", "failed"]),
  started_at: timeSchema,
  end_at: timeSchema,
});
export type Sandbox = z.infer<typeof sandboxSchema>;

/** Body of POST /kill. */
export const killRequestSchema = z.object({ session_id: sessionIdSchema });

/** Answer of POST /kill and DELETE /v1/sessions/session/{session_id}. */
export const killResponseSchema = z.object({
  message: z.string(),
  session_id: sessionIdSchema,
  vm_id: vmIdSchema.nullable(),
  status: z.literal("killed"),
});
export type KillResponse = z.infer<typeof killResponseSchema>;
