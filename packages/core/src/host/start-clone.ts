import type { Shape, VmId } from "@instavm/contract";
import type { Engine, PausedMachine, RunningMachine } from "../ports/engine.ts";
import type { Template, VmDirectories } from "../ports/files.ts";
import type { Chance } from "../ports/surroundings.ts";
import { sleep } from "../waiting/deadline.ts";
import { connectAgent } from "../vm/connect-agent.ts";
import { newIdentity } from "../vm/identity.ts";
import { newVmId } from "../vm/ids.ts";
import { logLastWords } from "../vm/last-words.ts";
import { nothingRuns } from "../vm/leftovers.ts";
import { Sandbox, type SandboxPorts } from "../vm/sandbox.ts";

/** A clone stays in the background at most so long. */
const longestBackgroundMs = 5_000;
/** A guest that was not given this long after its connection was cut takes the next one for the same. */
const cutNoticeMs = 20;

/** What clones are started with. */
export interface CloneParts extends SandboxPorts {
  readonly engine: Engine;
  readonly directories: VmDirectories;
  readonly chance: Chance;
  /** How long a clone's agent may take to answer, in ms. */
  readonly cloneTimeoutMs: number;
}

/** What a clone is a copy of: a template's files, a process that stands, or one that runs. */
type CloneOrigin =
  | { readonly kind: "template"; readonly template: Template }
  | { readonly kind: "zygote"; readonly machine: PausedMachine }
  | { readonly kind: "sandbox"; readonly sandbox: Sandbox };

/** One clone to start. */
export interface CloneRequest {
  readonly origin: CloneOrigin;
  readonly shape: Shape;
  readonly env: Readonly<Record<string, string>>;
  readonly priority: "normal" | "background";
}

/** Starts a clone and makes it an individual. On failure or abort neither process nor directory is left. */
export async function startClone(request: CloneRequest, parts: CloneParts, signal: AbortSignal): Promise<Sandbox> {
  const { shape, env, priority } = request;
  const vmId = newVmId(parts.chance);
  let machine: RunningMachine | undefined;
  let cancelTimer = (): void => {};
  try {
    signal.throwIfAborted();
    const directory = await parts.directories.create(vmId);
    signal.throwIfAborted();
    machine = await copy(request, { vmId, directory }, { engine: parts.engine, signal });
    // The guest must see that its connection was cut before it can take another.
    if (request.origin.kind === "sandbox") await sleep(parts.clock, cutNoticeMs, signal);
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

interface Place {
  readonly vmId: VmId;
  readonly directory: string;
}

async function copy(
  { origin, shape, priority }: CloneRequest,
  place: Place,
  { engine, signal }: { readonly engine: Engine; readonly signal: AbortSignal },
): Promise<RunningMachine> {
  if (origin.kind === "zygote") return (await origin.machine.fork({ ...place, priority }, { signal })).machine;
  if (origin.kind === "sandbox") {
    return (await origin.sandbox.fork({ ...place, priority }, { signal })).machine;
  }
  const { rootfsPath, files } = origin.template;
  return await engine.clone({ ...place, shape, rootfsPath, source: files, priority }, { signal });
}

/** On a busy host a VM in the background might never come up. Returns what calls it off. */
export function prioritiseLater(machine: RunningMachine, { clock, log }: CloneParts): () => void {
  const cancel = clock.after(longestBackgroundMs, () => {
    machine.prioritise().catch((error: unknown) => log.warn("vm.prioritise_failed", { vmId: machine.vmId, error }));
  });
  void machine.ended.then(cancel);
  return cancel;
}
