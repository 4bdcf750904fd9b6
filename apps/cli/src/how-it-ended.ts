import { say } from "./terminal.ts";

const timedOutExitCode = 124;

/** What a person wants to know of how code ended, beside its output and exit code. */
export interface Ending {
  readonly timedOut: boolean;
  readonly truncated: boolean;
  readonly outOfMemory?: boolean;
  readonly contextLost?: boolean;
}

/** Says what was unusual. */
export function sayEnding(ending: Ending): void {
  if (ending.timedOut) say(`stopped at the time limit; exit code ${String(timedOutExitCode)}`);
  if (ending.truncated) say("output beyond the limit was dropped");
  if (ending.outOfMemory === true) say("the VM ran out of memory and ended a process");
  if (ending.contextLost === true) say("the interpreter ended with its variables; the next call gets a new one");
}
