import { InvalidArgumentError } from "commander";
import type { Command } from "commander";

/** Adds the options of every command that asks a server something. */
export function withServerOptions(command: Command): Command {
  return command
    .option("--api-key <key>", "by default INSTAVM_API_KEY, then the config file, then a local server's admin key")
    .option(
      "--base-url <url>",
      "the server, by default INSTAVM_BASE_URL, then the config file, then http://127.0.0.1:8222",
    )
    .option("-j, --json", "print the result as JSON");
}

/** Ends a command's help with command lines to copy. */
export function withExamples(command: Command, examples: readonly string[]): Command {
  return command.addHelpText("after", `\nExamples:\n${examples.map((line) => `  $ ${line}`).join("\n")}`);
}

/** Reads a number between two bounds. */
export function numberBetween(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`Expected a number from ${String(min)} to ${String(max)}.`);
  };
}

/** Reads a whole number between two bounds. */
export function wholeBetween(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && Number.isInteger(value) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`Expected a whole number from ${String(min)} to ${String(max)}.`);
  };
}

/** Collects `NAME=VALUE` options. */
export function namedValue(text: string, before: Readonly<Record<string, string>> = {}): Record<string, string> {
  const equals = text.indexOf("=");
  if (equals <= 0) throw new InvalidArgumentError("Expected NAME=VALUE.");
  return { ...before, [text.slice(0, equals)]: text.slice(equals + 1) };
}

/** Reads a JSON object. */
export function jsonObject(text: string): Record<string, unknown> {
  const value = parsed(text);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return { ...value };
  throw new InvalidArgumentError("Expected a JSON object.");
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new InvalidArgumentError("Expected a JSON object.");
  }
}
