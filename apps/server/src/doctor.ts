import { allPassed, checkTable } from "./checks/check-table.ts";
import { ownChecks } from "./checks/own-checks.ts";
import type { Settings } from "./settings/settings.ts";
import { adapterChecks } from "./wiring/adapters.ts";

/** Prints what the server needs and what is there; true when nothing is missing. */
export async function doctor(settings: Settings, print: (text: string) => void): Promise<boolean> {
  const checks = (await Promise.all([ownChecks(settings), adapterChecks(settings)])).flat();
  print(checkTable(checks));
  return allPassed(checks);
}
