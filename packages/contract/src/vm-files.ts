import { z } from "zod";
import { errorBodySchema } from "./error-body.ts";
import { filePathSchema } from "./files.ts";
import { listLimit } from "./limits.ts";
import { timeSchema } from "./time.ts";

/** A flag in a query. */
const flagSchema = z.enum(["true", "false"]).default("false");

/** Permission bits as octal digits, as `chmod` takes them. */
export const fileModeSchema = z
  .string()
  .regex(/^[0-7]{3,4}$/, "expected three or four octal digits")
  .meta({ examples: ["0644"] });

/** A user or group of the VM: its name or number. */
export const accountSchema = z
  .string()
  .regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$/, "expected a name or number of the VM");

const ownerFields = { user: accountSchema.optional(), group: accountSchema.optional() };

/** One file of a VM. */
export const fileEntrySchema = z.object({
  name: z.string().meta({ description: "Without its directory; U+FFFD stands for what is not UTF-8." }),
  raw_name: z.string().nullable().meta({ description: "The name's bytes as base64, when they are not UTF-8." }),
  type: z.enum(["file", "directory", "symlink", "other"]).meta({ description: "`other`: a pipe, socket or device." }),
  size: z.int().meta({ description: "Bytes." }),
  mode: fileModeSchema,
  uid: z.int(),
  gid: z.int(),
  user: z.string().nullable(),
  group: z.string().nullable(),
  modified_at: timeSchema,
  link_target: z.string().nullable().meta({ description: "Where a symbolic link points, as it is written in it." }),
});
export type FileEntryAnswer = z.infer<typeof fileEntrySchema>;

/** Query of GET and HEAD /v1/vms/{vm_id}/files. */
export const readFileQuerySchema = z.object({ path: filePathSchema });

/** Query of PUT /v1/vms/{vm_id}/files. */
export const writeFileQuerySchema = z.object({
  path: filePathSchema,
  mode: fileModeSchema.optional().meta({ description: "Else that of the file that is replaced, or 0644." }),
  ...ownerFields,
  must_be_new: flagSchema.meta({ description: "A file that is there already is a `conflict`." }),
});

/** Answer of PUT /v1/vms/{vm_id}/files: the file is there, whole. */
export const writtenFileSchema = z.object({
  path: z.string().meta({ description: "Absolute, inside the VM." }),
  size: z.int().meta({ description: "Bytes." }),
});

/** Query of DELETE /v1/vms/{vm_id}/files. */
export const removeFileQuerySchema = z.object({
  path: filePathSchema,
  recursive: flagSchema.meta({ description: "Also a directory that is not empty." }),
});

/** Answer of DELETE /v1/vms/{vm_id}/files. */
export const removedFilesSchema = z.object({
  removed: z.int().meta({ description: "Files, directories and links." }),
});

/** Query of PATCH /v1/vms/{vm_id}/files. */
export const changeFileQuerySchema = z.object({ path: filePathSchema });

/** Body of PATCH /v1/vms/{vm_id}/files. */
export const changeFileRequestSchema = z
  .object({ mode: fileModeSchema.optional(), ...ownerFields })
  .refine(({ mode, user, group }) => [mode, user, group].some((each) => each !== undefined), {
    error: "expected mode, user or group",
  })
  .meta({
    anyOf: [{ required: ["mode"] }, { required: ["user"] }, { required: ["group"] }],
    examples: [{ mode: "0644" }],
  });

/** Query of GET /v1/vms/{vm_id}/files/stat. */
export const statFileQuerySchema = z.object({
  path: filePathSchema,
  follow: flagSchema.meta({ description: "What a symbolic link points to, not the link." }),
});

/** Query of GET /v1/vms/{vm_id}/files/list. */
export const listFilesQuerySchema = z.object({
  path: filePathSchema,
  after: z.string().max(1024).optional().meta({ description: "Only names behind this one." }),
  limit: z.coerce.number().int().min(1).max(listLimit.max).default(listLimit.max),
});

/** Answer of GET /v1/vms/{vm_id}/files/list. */
export const fileListSchema = z.object({
  entries: z.array(fileEntrySchema).meta({ description: "Sorted by the bytes of the names." }),
  has_more: z.boolean().meta({ description: "Ask again with `after` set to the last name." }),
});

/** Body of POST /v1/vms/{vm_id}/files/mkdir. */
export const makeDirectoryRequestSchema = z.object({
  path: filePathSchema,
  parents: z.boolean().default(true).meta({ description: "Make those above it; one that is there already will do." }),
  mode: fileModeSchema.optional(),
  ...ownerFields,
});

/** Body of POST /v1/vms/{vm_id}/files/move. */
export const moveFileRequestSchema = z.object({
  from: filePathSchema,
  to: filePathSchema,
  overwrite: z.boolean().default(false).meta({ description: "Else something at `to` is a `conflict`." }),
  parents: z.boolean().default(true).meta({ description: "Make the directories above `to`." }),
});

/** Query of GET /v1/vms/{vm_id}/files/tar. */
export const readTreeQuerySchema = z.object({ path: filePathSchema });

/** Query of PUT /v1/vms/{vm_id}/files/tar. */
export const writeTreeQuerySchema = z.object({
  path: filePathSchema.meta({ description: "A directory; made when it is missing." }),
  ...ownerFields,
  archive_owners: flagSchema.meta({ description: "Take the owners' numbers from the archive." }),
});

/** Answer of PUT /v1/vms/{vm_id}/files/tar. */
export const writtenTreeSchema = z.object({
  size: z.int().meta({ description: "Bytes of all files' content." }),
  entries: z.int(),
  skipped: z.int().meta({ description: "Devices and pipes, which are not made." }),
});

/** Query of GET /v1/vms/{vm_id}/files/watch. */
export const watchFilesQuerySchema = z.object({ path: filePathSchema, recursive: flagSchema });

/** Data of an event of GET /v1/vms/{vm_id}/files/watch that is no failure. Paths are relative to what is watched. */
export const fileChangeSchema = z.object({
  type: z.enum(["ready", "overflow", "created", "modified", "attributes", "removed", "unwatched", "moved"]),
  path: z.string().optional(),
  from_path: z.string().optional().meta({ description: "Of `moved`." }),
  is_directory: z.boolean().optional(),
});
export type FileChange = z.infer<typeof fileChangeSchema>;

/** Events of GET /v1/vms/{vm_id}/files/watch: the name is the data's `type`, or `error` when the stream breaks. */
export const watchEventSchemas = {
  ready: fileChangeSchema,
  overflow: fileChangeSchema,
  created: fileChangeSchema,
  modified: fileChangeSchema,
  attributes: fileChangeSchema,
  removed: fileChangeSchema,
  unwatched: fileChangeSchema,
  moved: fileChangeSchema,
  error: errorBodySchema,
} as const;
