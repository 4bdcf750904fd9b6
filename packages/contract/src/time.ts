import { z } from "zod";

/** A time as the API writes it: UTC in whole seconds, `2026-01-02T03:04:05Z`; sorts as text. */
export const timeSchema = z
  .string()
  .regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
  .meta({ examples: ["2026-01-02T03:04:05Z"] });

/** Writes a wall-clock time (ms since 1970 UTC) as the API shows it. */
export function formatTime(unixMs: number): string {
  return `${new Date(unixMs).toISOString().slice(0, 19)}Z`;
}
