import type { Shape } from "@instavm/contract";
import type { Engine, RunningMachine } from "../ports/engine.ts";
import type { Template, VmDirectories } from "../ports/files.ts";
import type { Chance } from "../ports/surroundings.ts";
import { connectAgent } from "../vm/connect-agent.ts";
import { newIdentity } from "../vm/identity.ts";
import { newVmId } from "../vm/ids.ts";
import { logLastWords } from "../vm/last-words.ts";
import { nothingRuns } from "../vm/leftovers.ts";
import { Sandbox, type SandboxPorts } from "../vm/sandbox.ts";

/** A clone stays in the background at most so long. */
const longestBackgroundMs = 5_000;

/** What clones are started with. */
export interface CloneParts extends SandboxPorts {
  readonly engine: Engine;
  readonly directories: VmDirectories;
  readonly chance: Chance;
  /** How long a clone's agent may take to answer, in ms. */
  readonly cloneTimeoutMs: number;
}

/** One clone to start. */
export interface CloneRequest {
  readonly template: Template;
  readonly shape: Shape;
  readonly env: Readonly<Record<string, string>>;
  readonly priority: "normal" | "background";
}

/** Starts a clone and makes it an individual. On failure or abort neither process nor directory is left. */
export async function startClone(request: CloneRequest, parts: CloneParts, signal: AbortSignal): Promise<Sandbox> {
  const { template, shape, env, priority } = request;
  const vmId = newVmId(parts.chance);
  let machine: RunningMachine | undefined;
  let cancelTimer = (): void => {};
  try {
    signal.throwIfAborted();
    const directory = await parts.directories.create(vmId);
    signal.throwIfAborted();
    const source = template.files;
    machine = await parts.engine.clone(
      { vmId, directory, shape, rootfsPath: template.rootfsPath, source, priority },
      { signal },
    );
    if (priority === "background") cancelTimer = prioritiseLater(machine, parts);
    const activate = newIdentity(vmId, env, parts);
    const session = await connectAgent(parts.link, machine, { signal, timeoutMs: parts.cloneTimeoutMs, activate });
    signal.throwIfAborted();
    return new Sandbox({ machine, session, shape }, parts);
  } catch (error) {
    cancelTimer();
    if (!signal.aborted) await logLastWords(machine, parts.log);
    // A clone that failed to start has left no process.
    await parts.leftovers.release(vmId, machine ?? nothingRuns);
    throw error;
  }
}

/** On a busy host a VM in the background might never come up. Returns what calls it off. */
function prioritiseLater(machine: RunningMachine, { clock, log }: CloneParts): () => void {
  const cancel = clock.after(longestBackgroundMs, () => {
    machine.prioritise().catch((error: unknown) => log.warn("vm.prioritise_failed", { vmId: machine.vmId, error }));
  });
  void machine.ended.then(cancel);
  return cancel;
}
