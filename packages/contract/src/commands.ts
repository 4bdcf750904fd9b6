import { z } from "zod";
import { errorBodySchema } from "./error-body.ts";
import { directoryPathSchema } from "./files.ts";
import { vmIdSchema } from "./ids.ts";
import { envSchema } from "./sessions.ts";
import { timeSchema } from "./time.ts";
import { accountSchema } from "./vm-files.ts";

const encoder = new TextEncoder();

/** A command's id: counts up from 1 in each VM, and is never used again there. */
export const commandIdSchema = z
  .int()
  .min(1)
  .max(0xff_ff_ff_ff)
  .meta({ examples: [3] })
  .brand<"CommandId">();
export type CommandId = z.infer<typeof commandIdSchema>;

/** Bounds of a VM's commands. */
export const commandLimits = {
  /** At once. */
  running: 128,
  /** The last ones that ended. */
  remembered: 64,
  /** Bytes of output of each, from its end; less when many share the VM's memory. */
  keptOutputBytes: 1024 * 1024,
  /** Requests that read, write or wait for them, at once. */
  waitingRequests: 64,
  tagBytes: 256,
  /** Arguments of one, and the bytes of each. */
  arguments: 4096,
  argumentBytes: 128 * 1024 - 1,
  timeoutS: 604_800,
  /** How long a read may wait for the end. */
  waitS: 600,
} as const;

/** Text without NUL, as a program takes it. */
const programTextSchema = z
  .string()
  .regex(/^[^\u0000]*$/, "expected text without NUL characters")
  .refine((text) => text.isWellFormed(), "expected Unicode text, got half of a surrogate pair");

const tagSchema = programTextSchema.refine(
  (tag) => encoder.encode(tag).length <= commandLimits.tagBytes,
  `expected at most ${commandLimits.tagBytes} bytes`,
);

/** Body of POST /v1/vms/{vm_id}/commands. The script's length limit is checked by the route: it is a 413, not a 422. */
export const startCommandRequestSchema = z
  .object({
    command: programTextSchema
      .min(1, "expected a command, got an empty text")
      .nullish()
      .meta({
        description: "A Bash script. Either this or `argv`.",
        examples: ["for i in 1 2 3; do echo $i; sleep 1; done"],
      }),
    argv: z
      .array(
        programTextSchema.refine(
          (argument) => encoder.encode(argument).length <= commandLimits.argumentBytes,
          `expected at most ${commandLimits.argumentBytes} bytes`,
        ),
      )
      .min(1)
      .max(commandLimits.arguments)
      .nullish()
      .meta({ description: "A program and its arguments, without a shell." }),
    cwd: directoryPathSchema.nullish().meta({ description: "Where it starts; without it the workdir." }),
    env: envSchema.nullish().meta({ description: "On top of the session's." }),
    user: accountSchema.nullish().meta({ description: "Whom it runs as; without it root." }),
    tag: tagSchema.nullish().meta({ description: "Free text to find it by." }),
    stdin: z
      .boolean()
      .default(false)
      .meta({ description: "Its stdin can be written to; else it reads the end at once." }),
    timeout: z
      .number()
      .min(0.001)
      .max(commandLimits.timeoutS)
      .nullish()
      .meta({ description: "Seconds; then it is killed with all that it has started. Without it there is no limit." }),
  })
  .refine(
    ({ command, argv }) =>
      [command, argv].filter((each) => typeof each === "string" || Array.isArray(each)).length === 1,
    {
      error: "expected either command or argv",
    },
  )
  .meta({
    oneOf: [
      { required: ["command"], properties: { command: { type: "string" }, argv: { type: "null" } } },
      { required: ["argv"], properties: { argv: { type: "array" }, command: { type: "null" } } },
    ],
    examples: [{ command: "for i in 1 2 3; do echo $i; sleep 1; done" }],
  });
export type StartCommandRequest = z.infer<typeof startCommandRequestSchema>;

/** A program that runs, or ran, in the background of a VM. */
export const commandSchema = z.object({
  id: commandIdSchema.meta({ description: "The same as `command_id`." }),
  command_id: commandIdSchema,
  vm_id: vmIdSchema,
  tag: z.string().nullable(),
  command: z.string().meta({ description: "For people: its script or its arguments, cut.", examples: ["sleep 60"] }),
  pid: z.int().meta({ description: "In the VM; also its process group." }),
  is_running: z.boolean(),
  stdin_is_open: z.boolean(),
  started_at: timeSchema,
  ended_at: timeSchema.nullable(),
  output_bytes: z
    .int()
    .meta({ description: "All bytes that it has printed, stdout and stderr together: the offset of the next one." }),
  output_start: z.int().meta({ description: "The offset of the first byte that is kept." }),
  truncated: z.boolean().meta({
    description: `Output before \`output_start\` is gone: the last ${commandLimits.keptOutputBytes} bytes are kept, fewer beside many others.`,
  }),
  exit_code: z
    .int()
    .nullable()
    .meta({ description: "128 + n when signal n ended it; 124 at its timeout. Null while it runs." }),
  signal: z.int().nullable().meta({ description: "The signal that ended it." }),
  timed_out: z.boolean(),
  out_of_memory: z.boolean().meta({ description: "The VM's kernel ended a process of it for want of memory." }),
  execution_time: z.number().nullable().meta({ description: "Seconds, wall clock; null while it runs." }),
  cpu_time: z.number().nullable().meta({ description: "Seconds, of all that it started; null while it runs." }),
});
export type Command = z.infer<typeof commandSchema>;

/** Query of GET /v1/vms/{vm_id}/commands. */
export const listCommandsQuerySchema = z.object({
  tag: tagSchema.optional().meta({ description: "Only those with exactly this tag." }),
});

/** Query of GET /v1/vms/{vm_id}/commands/{command_id}. */
export const getCommandQuerySchema = z.object({
  wait: z.coerce
    .number()
    .min(0)
    .max(commandLimits.waitS)
    .default(0)
    .meta({ description: "Seconds: the answer comes at its end, or after this time as it stands then." }),
});

/** Answer of DELETE /v1/vms/{vm_id}/commands/{command_id}: it has ended and is forgotten. */
export const deletedCommandSchema = z.object({
  message: z.string(),
  id: commandIdSchema,
  command_id: commandIdSchema,
  vm_id: vmIdSchema,
});

/** Query of POST /v1/vms/{vm_id}/commands/{command_id}/stdin. */
export const writeStdinQuerySchema = z.object({
  close: z.enum(["true", "false"]).default("false").meta({ description: "Behind these bytes its stdin ends." }),
});

/** Answer of POST /v1/vms/{vm_id}/commands/{command_id}/stdin: the command's pipe has taken all of it. */
export const writtenStdinSchema = z.object({ size: z.int().meta({ description: "Bytes." }) });

/** Signals that can be named. */
export const signalNameSchema = z.enum([
  "SIGHUP",
  "SIGINT",
  "SIGQUIT",
  "SIGKILL",
  "SIGUSR1",
  "SIGUSR2",
  "SIGALRM",
  "SIGTERM",
  "SIGCONT",
  "SIGSTOP",
  "SIGTSTP",
  "SIGWINCH",
]);
export type SignalName = z.infer<typeof signalNameSchema>;

/** All of them. */
export const signalNames: readonly SignalName[] = signalNameSchema.options;

/** Body of POST /v1/vms/{vm_id}/commands/{command_id}/signal. */
export const signalCommandRequestSchema = z.object({
  signal: z
    .union([signalNameSchema, z.int().min(1).max(64)])
    .default("SIGTERM")
    .meta({ description: "By name or number, for its process group; SIGKILL ends all that it has started." }),
});

/** Query of GET /v1/vms/{vm_id}/commands/{command_id}/output. */
export const readOutputQuerySchema = z.object({
  offset: z.coerce
    .number()
    .int()
    .min(0)
    .default(0)
    .meta({ description: "The first byte wanted: the last `next_offset` that came, to go on after a break." }),
  from_end: z
    .enum(["true", "false"])
    .default("false")
    .meta({ description: "`offset` counts backwards from the last byte: 0 is only what is new." }),
  follow: z
    .enum(["true", "false"])
    .default("true")
    .meta({ description: "Until the command's end; else what is there now." }),
});

/** Printed text. What is not UTF-8 in it is U+FFFD. */
const outputTextSchema = z.object({
  text: z.string(),
  offset: z.int().meta({ description: "Of its first byte." }),
  next_offset: z.int().meta({ description: "To go on behind it." }),
});

/**
 * Events of GET /v1/vms/{vm_id}/commands/{command_id}/output, and their data as JSON. The first is `position`, and it comes
 * again where the reader was too slow or too late: `dropped_bytes` right before `offset` are gone, because a command is never
 * stopped for a reader. The last is `exit` when the command has ended and all its output was sent, `more` when only what was
 * there was asked for and more can come, or `error`; comments in between say that the stream lives.
 */
export const commandOutputEventSchemas = {
  position: z.object({ offset: z.int(), dropped_bytes: z.int() }),
  stdout: outputTextSchema,
  stderr: outputTextSchema,
  exit: commandSchema,
  more: commandSchema,
  error: errorBodySchema,
} as const;
export type CommandOutputEvents = {
  readonly [Name in keyof typeof commandOutputEventSchemas]: z.infer<(typeof commandOutputEventSchemas)[Name]>;
};
