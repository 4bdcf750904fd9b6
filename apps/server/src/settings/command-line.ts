import { parseArgs } from "node:util";
import { InstaVmError } from "@instavm/contract";
import { settingTable } from "./settings.ts";

/** The programs in this one. */
const commands = {
  serve: "run the server in the foreground",
  doctor: "check what the server needs on this machine",
  "build-image": "build the base image, unless it is there",
} as const;
type Command = keyof typeof commands;

/** What was typed. */
export interface CommandLine {
  readonly command: Command | "help";
  readonly flags: Readonly<Record<string, string | undefined>>;
}

/** Throws `invalid` for a command or flag that does not exist. */
export function parseCommandLine(args: readonly string[]): CommandLine {
  const { values, positionals } = parse(args);
  const { help, ...flags } = values;
  const [name, ...rest] = positionals;
  if (help === true || name === undefined || name === "help") return { command: "help", flags: {} };
  if (!isCommand(name)) throw usageError(`There is no command ${JSON.stringify(name)}.`);
  if (rest.length > 0) throw usageError(`Nothing is expected behind ${name}, got ${JSON.stringify(rest[0])}.`);
  return { command: name, flags: textsOnly(flags) };
}

/** What --help prints. */
export function usage(): string {
  const rows = [
    ...Object.entries(commands).map(([name, help]) => [name, help] as const),
    ...Object.values(settingTable).map((row) => [`--${row.flag} …`, `${row.help}; also ${row.variable}`] as const),
  ];
  const lines = rows.map(([name, help]) => `  ${name.padEnd(16)} ${help}`);
  return ["Usage: main.ts <command> [flags]", "", ...lines, ""].join("\n");
}

function parse(args: readonly string[]): { values: Record<string, unknown>; positionals: readonly string[] } {
  const text = { type: "string" } as const;
  const flags = Object.fromEntries(Object.values(settingTable).map(({ flag }) => [flag, text]));
  try {
    const options = { ...flags, help: { type: "boolean", short: "h" } } as const;
    return parseArgs({ args: [...args], options, allowPositionals: true, strict: true });
  } catch (cause) {
    throw usageError(cause instanceof Error ? cause.message : String(cause), cause);
  }
}

function isCommand(name: string): name is Command {
  return Object.hasOwn(commands, name);
}

function usageError(message: string, cause?: unknown): InstaVmError {
  return new InstaVmError("invalid", message, { next: "See --help for commands and flags.", cause });
}

function textsOnly(values: Readonly<Record<string, unknown>>): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const [name, value] of Object.entries(values)) if (typeof value === "string") texts[name] = value;
  return texts;
}
