import { InstaVmError } from "@instavm/contract";

/** What a person reads when a command fails: what was seen, then the next command to type. */
export function failureText(error: unknown): string {
  if (error instanceof InstaVmError) return `error: ${error.message}\nnext:  ${error.next}\n`;
  return `error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`;
}

/** 2 for what was typed wrong, else 1. */
export function exitCodeOf(error: unknown): number {
  return error instanceof InstaVmError && error.code === "invalid" ? 2 : 1;
}
