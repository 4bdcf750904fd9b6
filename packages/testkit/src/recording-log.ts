import type { Log } from "@instavm/core";

/** One line of a log. */
export interface LogLine {
  readonly level: "info" | "warn" | "error";
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Keeps every line, for a test to look at. */
export class RecordingLog implements Log {
  readonly lines: LogLine[] = [];

  info(event: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.lines.push({ level: "info", event, fields });
  }

  warn(event: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.lines.push({ level: "warn", event, fields });
  }

  error(event: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.lines.push({ level: "error", event, fields });
  }

  /** How many lines carry the event. */
  count(event: string): number {
    return this.lines.filter((line) => line.event === event).length;
  }
}
