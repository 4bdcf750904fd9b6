import { z } from "zod";
import type { ErrorCode } from "./errors.ts";
import { executeRequestSchema, executeResponseSchema } from "./execute.ts";
import { healthResponseSchema } from "./health.ts";
import { sessionIdSchema } from "./ids.ts";
import { bodyLimitBytes, executeBodyLimitBytes } from "./limits.ts";
import {
  createSessionRequestSchema,
  createSessionResponseSchema,
  killRequestSchema,
  killResponseSchema,
  listSandboxesQuerySchema,
  sandboxSchema,
  sessionResponseSchema,
  sessionStatusResponseSchema,
} from "./sessions.ts";

/** Who may call: anybody; the holder of a key; the holder of a key, which may also be in the body; an admin. */
export type Access = "open" | "key" | "key-or-body" | "admin";

/** One HTTP operation: all that the server, the OpenAPI document and a client need to know of it. */
export interface Operation<
  Params extends z.ZodType = z.ZodType,
  Query extends z.ZodType = z.ZodType,
  Body extends z.ZodType = z.ZodType,
  Answer extends z.ZodType = z.ZodType,
> {
  readonly method: "GET" | "POST" | "PATCH" | "DELETE";
  /** With `{name}` for each path parameter. */
  readonly path: string;
  readonly summary: string;
  readonly access: Access;
  readonly params: Params;
  /** The code of an answer to path parameters that no thing can have. */
  readonly missing?: ErrorCode;
  readonly query: Query;
  readonly body: Body;
  readonly bodyLimitBytes: number;
  readonly answer: Answer;
  /** What can go wrong besides `internal`, and `unauthorized` where a key is needed. */
  readonly errors: readonly ErrorCode[];
}

const nothing = z.object({});
const inSession = { params: z.object({ session_id: sessionIdSchema }), missing: "session_not_found" } as const;
const plain = { params: nothing, query: nothing, body: nothing, bodyLimitBytes } as const;
const startErrors = [
  "capacity",
  "engine_failed",
  "image_missing",
  "host_setup",
  "disk_full",
  "guest_unreachable",
] as const;

/** Every operation that the server answers. */
export const operations = {
  createSession: {
    ...plain,
    method: "POST",
    path: "/v1/sessions/session",
    summary: "Create a session and start its VM",
    access: "key-or-body",
    body: createSessionRequestSchema,
    answer: createSessionResponseSchema,
    errors: ["bad_request", "invalid", "too_large", "limit_exceeded", ...startErrors],
  },
  getSession: {
    ...plain,
    ...inSession,
    method: "GET",
    path: "/v1/sessions/session/{session_id}",
    summary: "Read a session",
    access: "key",
    answer: sessionResponseSchema,
    errors: ["session_not_found"],
  },
  deleteSession: {
    ...plain,
    ...inSession,
    method: "DELETE",
    path: "/v1/sessions/session/{session_id}",
    summary: "End a session and its VM",
    access: "key",
    answer: killResponseSchema,
    errors: ["session_not_found"],
  },
  getSessionStatus: {
    ...plain,
    ...inSession,
    method: "GET",
    path: "/v1/sessions/status/{session_id}",
    summary: "Whether a session exists and its VM runs",
    access: "key",
    answer: sessionStatusResponseSchema,
    errors: ["session_not_found"],
  },
  listSandboxes: {
    ...plain,
    method: "GET",
    path: "/v1/sessions/sandboxes",
    summary: "List the live sandboxes of the key, newest first",
    access: "key",
    query: listSandboxesQuerySchema,
    answer: z.array(sandboxSchema),
    errors: ["invalid"],
  },
  kill: {
    ...plain,
    method: "POST",
    path: "/kill",
    summary: "End a session and its VM",
    access: "key",
    body: killRequestSchema,
    answer: killResponseSchema,
    errors: ["bad_request", "invalid", "too_large", "session_not_found"],
  },
  execute: {
    ...plain,
    method: "POST",
    path: "/execute",
    summary: "Run Python or Bash in a session's VM",
    access: "key",
    body: executeRequestSchema,
    bodyLimitBytes: executeBodyLimitBytes,
    answer: executeResponseSchema,
    errors: [
      "bad_request",
      "invalid",
      "too_large",
      "session_not_found",
      "vm_lost",
      "guest_protocol",
      "guest_failure",
      "gateway_timeout",
      ...startErrors,
    ],
  },
  health: {
    ...plain,
    method: "GET",
    path: "/health",
    summary: "Whether the server works, and what runs the VMs",
    access: "open",
    answer: healthResponseSchema,
    errors: ["host_setup"],
  },
} as const satisfies Record<string, Operation>;
export type OperationName = keyof typeof operations;
