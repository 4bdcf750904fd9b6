import { InstaVmError } from "@instavm/contract";
import type { Log } from "@instavm/core";

type Level = "info" | "warn" | "error";
type Fields = Readonly<Record<string, unknown>>;

/** How log lines look. */
export type LogFormat = "plain" | "json";

/** A log of one line per event. `write` gets whole lines. */
export function lineLog(format: LogFormat, write: (line: string) => void): Log {
  const render = format === "json" ? jsonLine : plainLine;
  const at =
    (level: Level) =>
    (event: string, fields: Fields = {}): void =>
      write(`${render(level, event, fields)}\n`);
  return { info: at("info"), warn: at("warn"), error: at("error") };
}

/** Whole lines to stderr. */
export function writeToStderr(line: string): void {
  process.stderr.write(line);
}

function jsonLine(level: Level, event: string, fields: Fields): string {
  const shown = Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, showable(value)]));
  return JSON.stringify({ time: new Date().toISOString(), level, event, ...shown });
}

function plainLine(level: Level, event: string, fields: Fields): string {
  const shown = Object.entries(fields).map(([name, value]) => `${name}=${plainValue(showable(value))}`);
  return [new Date().toISOString(), level.padEnd(5), event, ...shown].join(" ");
}

function plainValue(value: unknown): string {
  if (typeof value === "number") return String(Math.round(value * 100) / 100);
  return typeof value === "string" && /^[\w.:/-]+$/.test(value) ? value : (JSON.stringify(value) ?? "undefined");
}

/** An error with what its reader needs: our own are sentences, all others need their stack. */
function showable(value: unknown): unknown {
  if (value instanceof InstaVmError) {
    return {
      code: value.code,
      message: value.message,
      ...(value.cause === undefined ? {} : { cause: showable(value.cause) }),
    };
  }
  if (value instanceof Error) return value.stack ?? value.message;
  return value;
}
