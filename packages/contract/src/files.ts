import { z } from "zod";
import { sessionIdSchema } from "./ids.ts";
import { pathLimitBytes } from "./limits.ts";

const encoder = new TextEncoder();

/** A path inside a VM, of any characters but NUL. A relative one starts at the workdir. */
export const filePathSchema = z
  .string()
  .min(1, "expected a path, got an empty text")
  .regex(/^[^\u0000]*$/, "expected a path without NUL characters")
  .refine((path) => path.isWellFormed(), "expected Unicode text, got half of a surrogate pair")
  .refine((path) => encoder.encode(path).length <= pathLimitBytes, `expected at most ${pathLimitBytes} bytes`);

/** An absolute path inside a VM, of a directory in which something starts. */
export const directoryPathSchema = filePathSchema
  .refine((path) => path.startsWith("/"), "expected an absolute path")
  .meta({ examples: ["/tmp"] });

/** The fields of POST /upload, which come before the file. */
export const uploadFieldsSchema = z.object({
  session_id: sessionIdSchema,
  remote_path: filePathSchema.meta({ description: "Where in the VM. Missing directories are made." }),
  recursive: z
    .enum(["true", "false"])
    .default("false")
    .meta({ description: "Changes nothing: missing directories are always made." }),
});

/** Body of POST /upload. */
export const uploadRequestSchema = uploadFieldsSchema.extend({
  file: z.string().meta({
    format: "binary",
    description: "The content; its own file name is ignored. Comes last, unless it is at most 1 MiB.",
  }),
});

/** Answer of POST /upload: the file is there, whole. */
export const uploadResponseSchema = z.object({
  status: z.literal("success"),
  path: z.string().meta({ description: "Absolute, inside the VM." }),
  size: z.int().meta({ description: "Bytes." }),
});
export type UploadResponse = z.infer<typeof uploadResponseSchema>;

/** Body of POST /download. */
export const downloadRequestSchema = z.object({ filename: filePathSchema, session_id: sessionIdSchema });

/** Answer of POST /download. */
export const downloadResponseSchema = z.object({
  filename: z.string().meta({ description: "As it was asked for." }),
  content: z.string().meta({ description: "Base64; of an empty file, one newline." }),
  size: z.int().meta({ description: "Bytes." }),
});
export type DownloadResponse = z.infer<typeof downloadResponseSchema>;
