import type { Command } from "commander";

/** What a group of commands is added to, and what its commands work with. */
export interface CommandContext {
  readonly program: Command;
  /** Aborts at the first interrupt. */
  readonly signal: AbortSignal;
  /** Says what the program ends with, when that is not 0. */
  readonly finish: (exitCode: number) => void;
}
