import type { Command } from "commander";

/** One command of the program. */
export interface CommandNode {
  /** Its name and those above it, without the program's: `["exec", "result"]`; empty for the program itself. */
  readonly path: readonly string[];
  readonly command: Command;
}

/** The program and all its commands, each before those below it. */
export function commandTree(command: Command, path: readonly string[] = []): readonly CommandNode[] {
  return [{ path, command }, ...command.commands.flatMap((below) => commandTree(below, [...path, below.name()]))];
}
