import { z } from "zod";
import {
  commandIdSchema,
  commandOutputEventSchemas,
  commandSchema,
  deletedCommandSchema,
  getCommandQuerySchema,
  listCommandsQuerySchema,
  readOutputQuerySchema,
  signalCommandRequestSchema,
  startCommandRequestSchema,
  writeStdinQuerySchema,
  writtenStdinSchema,
} from "./commands.ts";
import { contextIdSchema, contextSchema, createContextRequestSchema, deletedContextSchema } from "./contexts.ts";
import type { ErrorCode } from "./errors.ts";
import { executeRequestSchema, executeResponseSchema, executeStreamEventSchemas } from "./execute.ts";
import { downloadRequestSchema, downloadResponseSchema, uploadRequestSchema, uploadResponseSchema } from "./files.ts";
import {
  executeAsyncRequestSchema,
  executionIdSchema,
  executionSchema,
  executionSummarySchema,
  listExecutionsQuerySchema,
} from "./executions.ts";
import { healthResponseSchema } from "./health.ts";
import { keyIdSchema, sessionIdSchema, vmIdSchema } from "./ids.ts";
import {
  apiKeySchema,
  createdKeySchema,
  createKeyRequestSchema,
  currentUserSchema,
  listKeysQuerySchema,
  revokedKeySchema,
  sshKeysSchema,
  updateKeyRequestSchema,
} from "./keys.ts";
import { bodyLimitBytes, executeBodyLimitBytes, fileLimitBytes } from "./limits.ts";
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
import { sessionUsageSchema } from "./usage.ts";
import {
  changeFileQuerySchema,
  changeFileRequestSchema,
  fileChangeSchema,
  fileEntrySchema,
  fileListSchema,
  listFilesQuerySchema,
  makeDirectoryRequestSchema,
  moveFileRequestSchema,
  readFileQuerySchema,
  readTreeQuerySchema,
  removedFilesSchema,
  removeFileQuerySchema,
  statFileQuerySchema,
  watchEventSchemas,
  watchFilesQuerySchema,
  writeFileQuerySchema,
  writeTreeQuerySchema,
  writtenFileSchema,
  writtenTreeSchema,
} from "./vm-files.ts";
import {
  cloneVmRequestSchema,
  createVmQuerySchema,
  createVmRequestSchema,
  deleteVmResponseSchema,
  forkVmRequestSchema,
  forkVmResponseSchema,
  listVmRecordsQuerySchema,
  updateVmRequestSchema,
  vmSchema,
} from "./vms.ts";

/** Who may call: anybody; the holder of a key; the holder of a key, which may also be in the body; an admin. */
export type Access = "open" | "key" | "key-or-body" | "admin";

/** Media types of bodies. `application/octet-stream` stands for the bytes of a file, whatever they are. */
export type BodyType =
  | "application/json"
  | "multipart/form-data"
  | "application/x-www-form-urlencoded"
  | "application/octet-stream";

/** Media types of answers. */
export type AnswerType = "application/json" | "application/octet-stream" | "application/x-tar" | "text/event-stream";

/** One HTTP operation: all that the server, the OpenAPI document and a client need to know of it. */
export interface Operation<
  Params extends z.ZodType = z.ZodType,
  Query extends z.ZodType = z.ZodType,
  Body extends z.ZodType = z.ZodType,
  Answer extends z.ZodType = z.ZodType,
> {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** With `{name}` for each path parameter. */
  readonly path: string;
  /** The path with and without a final slash are two operations; without this both name the same. */
  readonly slashMatters?: true;
  readonly summary: string;
  readonly access: Access;
  readonly params: Params;
  /** The code of an answer to path parameters that no thing can have. */
  readonly missing?: ErrorCode;
  readonly query: Query;
  readonly body: Body;
  readonly bodyLimitBytes: number;
  /** What the body comes as; JSON when nothing is said. */
  readonly bodyType?: BodyType;
  readonly answer: Answer;
  /** What the answer comes as, the first when the client asks for nothing; JSON when nothing is said. */
  readonly answerTypes?: readonly AnswerType[];
  /** Of an answer that can come as events: what the data of each of them are, by its name. */
  readonly events?: Readonly<Record<string, z.ZodType>>;
  /** The header `Range` is heeded: 206 with a part of the bytes. */
  readonly hasRanges?: true;
  /** The header `Idempotency-Key` is heeded: a repeated call gets the answer of the first. */
  readonly hasIdempotencyKey?: true;
  /** What can go wrong besides `internal`, and `unauthorized` where a key is needed. */
  readonly errors: readonly ErrorCode[];
}

const nothing = z.object({});
const inSession = { params: z.object({ session_id: sessionIdSchema }), missing: "session_not_found" } as const;
const inVm = { params: z.object({ vm_id: vmIdSchema }), missing: "vm_not_found" } as const;
const ofKey = {
  params: z.object({ key_id: z.coerce.number().pipe(keyIdSchema) }),
  missing: "key_not_found",
} as const;
const plain = { params: nothing, query: nothing, body: nothing, bodyLimitBytes } as const;
const startErrors = [
  "capacity",
  "engine_failed",
  "image_missing",
  "host_setup",
  "disk_full",
  "guest_unreachable",
] as const;

const forkErrors = [
  "bad_request",
  "invalid",
  "too_large",
  "limit_exceeded",
  "vm_not_found",
  "not_forkable",
  "vm_lost",
  "guest_protocol",
  "guest_failure",
  ...startErrors,
] as const;

const fileErrors = [
  "session_not_found",
  "file_not_found",
  "vm_lost",
  "guest_protocol",
  "guest_failure",
  ...startErrors,
] as const;

const guestErrors = ["vm_not_found", "vm_lost", "guest_unreachable", "guest_protocol", "guest_failure"] as const;
/** Of calls that wait for a command as long as it takes. */
const lastingErrors = ["limit_exceeded", "capacity", ...guestErrors] as const;
const vmContexts = { ...plain, ...inVm, access: "key" } as const;
const vmContext = {
  ...vmContexts,
  params: z.object({ vm_id: vmIdSchema, context_id: contextIdSchema }),
  missing: "context_not_found",
} as const;
const vmCommands = { ...plain, ...inVm, access: "key" } as const;
const vmCommand = {
  ...vmCommands,
  params: z.object({ vm_id: vmIdSchema, command_id: z.coerce.number().pipe(commandIdSchema) }),
  missing: "command_not_found",
} as const;

const vmFiles = { ...plain, ...inVm, access: "key" } as const;
const vmFileErrors = [
  "bad_request",
  "invalid",
  "vm_not_found",
  "file_not_found",
  "vm_lost",
  "guest_unreachable",
  "guest_protocol",
  "guest_failure",
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
    hasIdempotencyKey: true,
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
    errors: ["bad_request", "invalid", "too_large", "session_not_found", "forbidden"],
  },
  getSessionUsage: {
    ...plain,
    ...inSession,
    method: "GET",
    path: "/v1/sessions/usage/{session_id}",
    summary: "What a session has used so far",
    access: "key",
    answer: sessionUsageSchema,
    errors: ["session_not_found"],
  },
  createVm: {
    ...plain,
    method: "POST",
    path: "/v1/vms",
    summary: "Create a VM with a session of its own, or for a session",
    access: "key",
    query: createVmQuerySchema,
    body: createVmRequestSchema,
    answer: vmSchema,
    hasIdempotencyKey: true,
    errors: [
      "bad_request",
      "invalid",
      "too_large",
      "limit_exceeded",
      "session_not_found",
      "conflict",
      "not_implemented",
      ...startErrors,
    ],
  },
  listVms: {
    ...plain,
    method: "GET",
    path: "/v1/vms",
    slashMatters: true,
    summary: "List the live VMs of the key, newest first",
    access: "key",
    answer: z.array(vmSchema),
    errors: [],
  },
  listVmRecords: {
    ...plain,
    method: "GET",
    path: "/v1/vms/",
    slashMatters: true,
    summary: "List all VMs that the key has and had, newest first",
    access: "key",
    query: listVmRecordsQuerySchema,
    answer: z.array(vmSchema),
    errors: ["invalid"],
  },
  getVm: {
    ...plain,
    ...inVm,
    method: "GET",
    path: "/v1/vms/{vm_id}",
    summary: "Read a VM, also one that has ended",
    access: "key",
    answer: vmSchema,
    errors: ["vm_not_found"],
  },
  updateVm: {
    ...plain,
    ...inVm,
    method: "PATCH",
    path: "/v1/vms/{vm_id}",
    summary: "Change a VM's name, metadata or lifetime",
    access: "key",
    body: updateVmRequestSchema,
    answer: vmSchema,
    errors: ["bad_request", "invalid", "too_large", "limit_exceeded", "vm_not_found", "conflict", "not_implemented"],
  },
  deleteVm: {
    ...plain,
    ...inVm,
    method: "DELETE",
    path: "/v1/vms/{vm_id}",
    summary: "End a VM and its session",
    access: "key",
    answer: deleteVmResponseSchema,
    errors: ["vm_not_found"],
  },
  forkVm: {
    ...plain,
    ...inVm,
    method: "POST",
    path: "/v1/vms/{vm_id}/fork",
    summary: "Copy a VM that runs, memory and processes included; all copies or none",
    access: "key",
    body: forkVmRequestSchema,
    answer: forkVmResponseSchema,
    hasIdempotencyKey: true,
    errors: forkErrors,
  },
  cloneVm: {
    ...plain,
    ...inVm,
    method: "POST",
    path: "/v1/vms/{vm_id}/clone",
    summary: "Copy a VM that runs once, as a fork of one",
    access: "key",
    query: createVmQuerySchema,
    body: cloneVmRequestSchema,
    answer: vmSchema,
    hasIdempotencyKey: true,
    errors: [...forkErrors, "not_implemented"],
  },
  createKey: {
    ...plain,
    method: "POST",
    path: "/v1/api-keys",
    summary: "Make an API key",
    access: "admin",
    body: createKeyRequestSchema,
    answer: createdKeySchema,
    errors: ["bad_request", "invalid", "too_large"],
  },
  listKeys: {
    ...plain,
    method: "GET",
    path: "/v1/api-keys",
    summary: "List the API keys: an admin sees all, a user its own",
    access: "key",
    query: listKeysQuerySchema,
    answer: z.array(apiKeySchema),
    errors: ["invalid"],
  },
  getKey: {
    ...plain,
    ...ofKey,
    method: "GET",
    path: "/v1/api-keys/{key_id}",
    summary: "Read what is known of an API key",
    access: "key",
    answer: apiKeySchema,
    errors: ["key_not_found"],
  },
  updateKey: {
    ...plain,
    ...ofKey,
    method: "PATCH",
    path: "/v1/api-keys/{key_id}",
    summary: "Describe an API key anew",
    access: "key",
    body: updateKeyRequestSchema,
    answer: apiKeySchema,
    errors: ["bad_request", "invalid", "too_large", "key_not_found"],
  },
  deleteKey: {
    ...plain,
    ...ofKey,
    method: "DELETE",
    path: "/v1/api-keys/{key_id}",
    summary: "Revoke an API key at once; its sessions live on until they expire",
    access: "key",
    answer: revokedKeySchema,
    errors: ["key_not_found", "conflict"],
  },
  listSshKeys: {
    ...plain,
    method: "GET",
    path: "/v1/ssh-keys",
    summary: "List the SSH keys; this release has no SSH gateway, so there are none",
    access: "key",
    answer: sshKeysSchema,
    errors: [],
  },
  getCurrentUser: {
    ...plain,
    method: "GET",
    path: "/v1/users/me",
    summary: "Whose key this is",
    access: "key",
    answer: currentUserSchema,
    errors: [],
  },
  execute: {
    ...plain,
    method: "POST",
    path: "/execute",
    summary: "Run Python, JavaScript or Bash in a session's VM",
    access: "key",
    body: executeRequestSchema,
    bodyLimitBytes: executeBodyLimitBytes,
    answer: executeResponseSchema,
    answerTypes: ["application/json", "text/event-stream"],
    events: executeStreamEventSchemas,
    errors: [
      "bad_request",
      "invalid",
      "too_large",
      "session_not_found",
      "context_not_found",
      "vm_lost",
      "guest_protocol",
      "guest_failure",
      "gateway_timeout",
      ...startErrors,
    ],
  },
  executeAsync: {
    ...plain,
    method: "POST",
    path: "/execute_async",
    summary: "Run Python, JavaScript or Bash in a session's VM without waiting for its end",
    access: "key",
    body: executeAsyncRequestSchema,
    bodyLimitBytes: executeBodyLimitBytes,
    answer: executionSchema,
    errors: ["bad_request", "invalid", "too_large", "session_not_found", "limit_exceeded", "disk_full"],
  },
  getExecution: {
    ...plain,
    method: "GET",
    path: "/v1/executions/{task_id}",
    summary: "Read how code in the background stands, and what it printed",
    access: "key",
    params: z.object({ task_id: executionIdSchema }),
    missing: "execution_not_found",
    answer: executionSchema,
    errors: ["execution_not_found"],
  },
  listExecutions: {
    ...plain,
    method: "GET",
    path: "/v1/executions",
    summary: "List the key's code in the background, newest first",
    access: "key",
    query: listExecutionsQuerySchema,
    answer: z.array(executionSummarySchema),
    errors: ["invalid"],
  },
  upload: {
    ...plain,
    method: "POST",
    path: "/upload",
    summary: "Write a file into a session's VM",
    access: "key",
    body: uploadRequestSchema,
    bodyType: "multipart/form-data",
    bodyLimitBytes: fileLimitBytes + bodyLimitBytes,
    answer: uploadResponseSchema,
    errors: ["bad_request", "invalid", "too_large", "timeout", ...fileErrors],
  },
  download: {
    ...plain,
    method: "POST",
    path: "/download",
    summary: "Read a file of a session's VM, as base64",
    access: "key",
    body: downloadRequestSchema,
    bodyType: "application/x-www-form-urlencoded",
    answer: downloadResponseSchema,
    errors: ["bad_request", "invalid", "too_large", ...fileErrors],
  },
  readFile: {
    ...vmFiles,
    method: "GET",
    path: "/v1/vms/{vm_id}/files",
    summary: "Read a file's bytes",
    query: readFileQuerySchema,
    answer: z.unknown(),
    answerTypes: ["application/octet-stream"],
    hasRanges: true,
    errors: [...vmFileErrors, "range_not_satisfiable"],
  },
  writeFile: {
    ...vmFiles,
    method: "PUT",
    path: "/v1/vms/{vm_id}/files",
    summary: "Write a file; it appears whole or not at all",
    query: writeFileQuerySchema,
    bodyType: "application/octet-stream",
    bodyLimitBytes: fileLimitBytes,
    answer: writtenFileSchema,
    errors: [...vmFileErrors, "too_large", "timeout", "conflict"],
  },
  removeFile: {
    ...vmFiles,
    method: "DELETE",
    path: "/v1/vms/{vm_id}/files",
    summary: "Remove a file or directory",
    query: removeFileQuerySchema,
    answer: removedFilesSchema,
    errors: [...vmFileErrors, "conflict"],
  },
  changeFile: {
    ...vmFiles,
    method: "PATCH",
    path: "/v1/vms/{vm_id}/files",
    summary: "Change a file's mode or owner",
    query: changeFileQuerySchema,
    body: changeFileRequestSchema,
    answer: fileEntrySchema,
    errors: [...vmFileErrors, "too_large"],
  },
  statFile: {
    ...vmFiles,
    method: "GET",
    path: "/v1/vms/{vm_id}/files/stat",
    summary: "Describe a file",
    query: statFileQuerySchema,
    answer: fileEntrySchema,
    errors: vmFileErrors,
  },
  listFiles: {
    ...vmFiles,
    method: "GET",
    path: "/v1/vms/{vm_id}/files/list",
    summary: "List a directory, a page at a time",
    query: listFilesQuerySchema,
    answer: fileListSchema,
    errors: vmFileErrors,
  },
  makeDirectory: {
    ...vmFiles,
    method: "POST",
    path: "/v1/vms/{vm_id}/files/mkdir",
    summary: "Make a directory",
    body: makeDirectoryRequestSchema,
    answer: fileEntrySchema,
    errors: [...vmFileErrors, "too_large", "conflict"],
  },
  moveFile: {
    ...vmFiles,
    method: "POST",
    path: "/v1/vms/{vm_id}/files/move",
    summary: "Move or rename a file or directory",
    body: moveFileRequestSchema,
    answer: fileEntrySchema,
    errors: [...vmFileErrors, "too_large", "conflict"],
  },
  readTree: {
    ...vmFiles,
    method: "GET",
    path: "/v1/vms/{vm_id}/files/tar",
    summary: "Read a directory or a file as a tar archive",
    query: readTreeQuerySchema,
    answer: z.unknown(),
    answerTypes: ["application/x-tar"],
    errors: vmFileErrors,
  },
  writeTree: {
    ...vmFiles,
    method: "PUT",
    path: "/v1/vms/{vm_id}/files/tar",
    summary: "Unpack a tar archive into a directory",
    query: writeTreeQuerySchema,
    bodyType: "application/octet-stream",
    bodyLimitBytes: fileLimitBytes,
    answer: writtenTreeSchema,
    errors: [...vmFileErrors, "too_large", "timeout", "conflict"],
  },
  watchFiles: {
    ...vmFiles,
    method: "GET",
    path: "/v1/vms/{vm_id}/files/watch",
    summary: "Follow what changes in a directory, as events",
    query: watchFilesQuerySchema,
    answer: fileChangeSchema,
    answerTypes: ["text/event-stream"],
    events: watchEventSchemas,
    errors: vmFileErrors,
  },
  createContext: {
    ...vmContexts,
    method: "POST",
    path: "/v1/vms/{vm_id}/contexts",
    summary: "Make a context: an interpreter with its own state",
    body: createContextRequestSchema,
    answer: contextSchema,
    errors: ["limit_exceeded", ...guestErrors],
  },
  listContexts: {
    ...vmContexts,
    method: "GET",
    path: "/v1/vms/{vm_id}/contexts",
    summary: "List the contexts of a VM",
    answer: z.array(contextSchema),
    errors: guestErrors,
  },
  getContext: {
    ...vmContext,
    method: "GET",
    path: "/v1/vms/{vm_id}/contexts/{context_id}",
    summary: "Read a context",
    answer: contextSchema,
    errors: guestErrors,
  },
  deleteContext: {
    ...vmContext,
    method: "DELETE",
    path: "/v1/vms/{vm_id}/contexts/{context_id}",
    summary: "End a context, its interpreter and the code that runs in it",
    answer: deletedContextSchema,
    errors: guestErrors,
  },
  restartContext: {
    ...vmContext,
    method: "POST",
    path: "/v1/vms/{vm_id}/contexts/{context_id}/restart",
    summary: "End a context's interpreter and the code that runs in it; the next code gets a new one",
    answer: contextSchema,
    errors: guestErrors,
  },
  interruptContext: {
    ...vmContext,
    method: "POST",
    path: "/v1/vms/{vm_id}/contexts/{context_id}/interrupt",
    summary: "Interrupt the code that runs in a context; its state stays",
    answer: contextSchema,
    errors: guestErrors,
  },
  startCommand: {
    ...vmCommands,
    method: "POST",
    path: "/v1/vms/{vm_id}/commands",
    summary: "Start a program that runs in the background",
    body: startCommandRequestSchema,
    bodyLimitBytes: executeBodyLimitBytes,
    answer: commandSchema,
    errors: ["file_not_found", "limit_exceeded", ...guestErrors],
  },
  listCommands: {
    ...vmCommands,
    method: "GET",
    path: "/v1/vms/{vm_id}/commands",
    summary: "List a VM's commands that run and the last ones that ended, oldest first",
    query: listCommandsQuerySchema,
    answer: z.array(commandSchema),
    errors: guestErrors,
  },
  getCommand: {
    ...vmCommand,
    method: "GET",
    path: "/v1/vms/{vm_id}/commands/{command_id}",
    summary: "Read how a command stands, or wait for its end",
    query: getCommandQuerySchema,
    answer: commandSchema,
    errors: lastingErrors,
  },
  deleteCommand: {
    ...vmCommand,
    method: "DELETE",
    path: "/v1/vms/{vm_id}/commands/{command_id}",
    summary: "Forget a command and its output; one that runs is killed first, with all that it has started",
    answer: deletedCommandSchema,
    errors: guestErrors,
  },
  writeStdin: {
    ...vmCommand,
    method: "POST",
    path: "/v1/vms/{vm_id}/commands/{command_id}/stdin",
    summary: "Write bytes to a command's stdin",
    query: writeStdinQuerySchema,
    bodyType: "application/octet-stream",
    bodyLimitBytes: fileLimitBytes,
    answer: writtenStdinSchema,
    errors: ["too_large", "timeout", "conflict", ...lastingErrors],
  },
  signalCommand: {
    ...vmCommand,
    method: "POST",
    path: "/v1/vms/{vm_id}/commands/{command_id}/signal",
    summary: "Send a signal to a command; one that has ended is left as it is",
    body: signalCommandRequestSchema,
    answer: commandSchema,
    errors: guestErrors,
  },
  readOutput: {
    ...vmCommand,
    method: "GET",
    path: "/v1/vms/{vm_id}/commands/{command_id}/output",
    summary: "Read a command's output as events, from any offset that is kept",
    query: readOutputQuerySchema,
    answer: commandOutputEventSchemas.stdout,
    answerTypes: ["text/event-stream"],
    events: commandOutputEventSchemas,
    errors: lastingErrors,
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
