import type { RunningMachine } from "../ports/engine.ts";
import type { Log } from "../ports/surroundings.ts";

/** Logs what a VM that did not come up wrote last: its directory, and the files in it, are about to go. Never rejects. */
export async function logLastWords(machine: RunningMachine | undefined, log: Log): Promise<void> {
  if (machine?.lastWords === undefined) return;
  try {
    log.warn("vm.last_words", { vmId: machine.vmId, text: await machine.lastWords() });
  } catch (error) {
    log.warn("vm.last_words_failed", { vmId: machine.vmId, error });
  }
}
