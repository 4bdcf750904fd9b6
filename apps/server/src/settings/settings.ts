import { isAbsolute } from "node:path";
import { InstaVmError } from "@instavm/contract";
import { z } from "zod";

const directorySchema = z.string().refine(isAbsolute, "expected an absolute path");

const listenSchema = z.string().transform((text, context) => {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
  const [host, port] = [match?.[1] ?? match?.[2], Number(match?.[3])];
  if (host !== undefined && port <= 65_535) return { host, port };
  context.addIssue({ code: "custom", message: "expected HOST:PORT, like 127.0.0.1:8222 or [::1]:8222" });
  return z.NEVER;
});

const settingsSchema = z.object({
  listen: listenSchema.default({ host: "127.0.0.1", port: 8222 }),
  stateDir: directorySchema.default("/var/lib/instavm"),
  cacheDir: directorySchema.default("/var/cache/instavm"),
  poolSize: z
    .string()
    .regex(/^\d{1,3}$/, "expected a whole number from 0 to 999")
    .transform(Number)
    .default(4),
  zygoteMemoryMib: z
    .string()
    .regex(/^\d{1,7}$/, "expected a whole number of MiB")
    .transform(Number)
    .default(2048),
  logFormat: z.enum(["plain", "json"]).optional(),
});

/** How a server is set up. Paths are absolute. */
export type Settings = z.output<typeof settingsSchema>;

/** Each setting's flag, environment variable and meaning, as `--help` shows them. */
export const settingTable = {
  listen: { flag: "listen", variable: "INSTAVM_LISTEN", help: "HOST:PORT to listen on (127.0.0.1:8222)" },
  stateDir: { flag: "state-dir", variable: "INSTAVM_STATE_DIR", help: "records, keys and VMs (/var/lib/instavm)" },
  cacheDir: { flag: "cache-dir", variable: "INSTAVM_CACHE_DIR", help: "built images (/var/cache/instavm)" },
  poolSize: { flag: "pool-size", variable: "INSTAVM_POOL_SIZE", help: "VMs kept ready; 0 = off (4)" },
  zygoteMemoryMib: {
    flag: "zygote-memory-mib",
    variable: "INSTAVM_ZYGOTE_MEMORY_MIB",
    help: "MiB for stopped VMs that are forked; 0 = off (2048)",
  },
  logFormat: { flag: "log-format", variable: "INSTAVM_LOG_FORMAT", help: "plain or json (plain on a terminal)" },
} as const satisfies Record<keyof Settings, { flag: string; variable: string; help: string }>;

type Texts = Readonly<Record<string, string | undefined>>;

/** Settings from flags (by flag name), else from the environment, else defaults. Throws `invalid` that names the wrong one. */
export function readSettings(flags: Texts, env: Texts): Settings {
  const given = Object.entries(settingTable).flatMap(([name, { flag, variable }]) => {
    const value = flags[flag] ?? emptyIsAbsent(env[variable]);
    return value === undefined ? [] : [[name, value] as const];
  });
  const result = settingsSchema.safeParse(Object.fromEntries(given));
  if (result.success) return result.data;
  throw wrongSetting(result.error, { flags, env });
}

function emptyIsAbsent(value: string | undefined): string | undefined {
  return value === "" ? undefined : value;
}

function wrongSetting(error: z.ZodError, { flags, env }: { readonly flags: Texts; readonly env: Texts }): InstaVmError {
  const issue = error.issues[0];
  const row = Object.entries(settingTable).find(([name]) => name === issue?.path[0])?.[1];
  if (issue === undefined || row === undefined) return new InstaVmError("invalid", error.message, { cause: error });
  const fromFlag = flags[row.flag];
  const source = fromFlag === undefined ? row.variable : `--${row.flag}`;
  const value = fromFlag ?? env[row.variable] ?? "";
  return new InstaVmError("invalid", `${source} is ${JSON.stringify(value)}: ${issue.message}.`, {
    next: "See --help for the settings.",
    cause: error,
  });
}
