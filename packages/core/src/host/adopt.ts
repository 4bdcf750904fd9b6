import type { Shape, VmId } from "@instavm/contract";
import type { RunningMachine } from "../ports/engine.ts";
import { connectAgent } from "../vm/connect-agent.ts";
import { nothingRuns } from "../vm/leftovers.ts";
import { Sandbox } from "../vm/sandbox.ts";
import type { CloneParts } from "./start-clone.ts";

const adoptTimeoutMs = 10_000;

/** What was found when the server started. */
export interface Adoption {
  readonly adopted: readonly Sandbox[];
  /** Wanted VMs that do not run any more, and why. */
  readonly lost: ReadonlyMap<VmId, string>;
  /** How many VMs and directories that nobody wanted were removed. */
  readonly removed: number;
}

/**
 * Takes over the wanted VMs that still run, ends every other VM of this host and removes the directories of what
 * does not run. A VM whose agent does not answer counts as lost.
 */
export async function adoptVms(wanted: ReadonlyMap<VmId, Shape>, parts: CloneParts): Promise<Adoption> {
  const [running, directories] = await Promise.all([parts.engine.running(), parts.directories.list()]);
  const present = new Set([...running, ...directories]);
  const lost = new Map<VmId, string>();
  const adopted: Sandbox[] = [];
  const takeOver = async (vmId: VmId, shape: Shape): Promise<void> => {
    const outcome = present.has(vmId) ? await adoptOne(vmId, shape, parts) : processIsGone;
    if (outcome instanceof Sandbox) adopted.push(outcome);
    else lost.set(vmId, outcome);
  };
  const unwanted = [...present].filter((vmId) => !wanted.has(vmId));
  await Promise.all([
    ...[...wanted].map(([vmId, shape]) => takeOver(vmId, shape)),
    ...unwanted.map((vmId) => parts.leftovers.release(vmId)),
  ]);
  return { adopted, lost, removed: unwanted.length };
}

const processIsGone = "its process ended while the server was down";

/** The sandbox, or why there is none; then nothing of it is left. */
async function adoptOne(vmId: VmId, shape: Shape, parts: CloneParts): Promise<Sandbox | string> {
  let machine: RunningMachine | undefined;
  try {
    machine = await parts.engine.adopt(vmId, parts.directories.path(vmId), { timeoutMs: adoptTimeoutMs });
    if (machine === undefined) {
      await parts.leftovers.release(vmId, nothingRuns);
      return processIsGone;
    }
    // The host's clock may have been stepped meanwhile.
    const activate = { unixTimeMs: parts.clock.nowMs(), env: {} };
    const session = await connectAgent(parts.link, machine, { timeoutMs: adoptTimeoutMs, activate });
    return new Sandbox({ machine, session, shape }, parts);
  } catch (error) {
    parts.log.warn("vm.adopt_failed", { vmId, error });
    await parts.leftovers.release(vmId, machine);
    return `it could not be taken over after a restart of the server: ${error instanceof Error ? error.message : String(error)}`;
  }
}
