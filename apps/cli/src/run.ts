import { CommanderError } from "commander";
import { makeProgram } from "./program.ts";
import { sayError, surviveClosedPipes } from "./terminal.ts";

/** What a shell makes of a program that SIGINT ended. */
const interruptedExitCode = 130;
const usageExitCode = 2;

/** Runs one command line, without `node` and the script's name. Resolves with the exit code; never rejects. */
export async function run(args: readonly string[]): Promise<number> {
  surviveClosedPipes();
  const interrupted = new AbortController();
  process.once("SIGINT", () => {
    interrupted.abort();
    // The second one does not wait for a tidy end.
    process.once("SIGINT", () => process.exit(interruptedExitCode));
  });
  try {
    const program = makeProgram(interrupted.signal);
    await program.command.parseAsync([...args], { from: "user" });
    return program.exitCode();
  } catch (error) {
    if (interrupted.signal.aborted) return interruptedExitCode;
    return await exitCodeOf(error);
  }
}

async function exitCodeOf(error: unknown): Promise<number> {
  // Commander has printed its message already; help and version end with 0.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : usageExitCode;
  const { InstaVmError } = await import("instavm");
  if (error instanceof InstaVmError) sayError(error.message, error.next);
  else
    sayError(error instanceof Error ? (error.stack ?? error.message) : String(error), "This is a defect: report it.");
  return 1;
}
