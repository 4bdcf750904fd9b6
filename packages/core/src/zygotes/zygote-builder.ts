import { InstaVmError } from "@instavm/contract";
import { type CloneParts, prioritiseLater, startClone } from "../host/start-clone.ts";
import type { AgentSession } from "../ports/agent-link.ts";
import type { PausedMachine, RunningMachine } from "../ports/engine.ts";
import type { Template } from "../ports/files.ts";
import { warmUp } from "../templates/warm-up.ts";
import type { WarmUpStep } from "../templates/warm-up-steps.ts";
import { readCall } from "../vm/agent-calls.ts";
import { connectAgent } from "../vm/connect-agent.ts";
import { newIdentity } from "../vm/identity.ts";
import { newVmId } from "../vm/ids.ts";
import { nothingRuns } from "../vm/leftovers.ts";

const stepTimeoutMs = 60_000;
const probeLimitMs = 20_000;
/** Two, because what they draw at random must differ. */
const probeCount = 2;

/** So many forks in a row that stay silent are no matter of a busy host. */
export const silencesLimit = 3;

/** A VM of one template that stands still, to be forked. */
export interface Zygote {
  readonly kind: "zygote";
  readonly machine: PausedMachine;
}

/** What one is built with. */
export interface ZygoteBuild {
  readonly clone: CloneParts;
  readonly warmUp: readonly WarmUpStep[];
  readonly signal: AbortSignal;
}

/** Restores, warms up and stops a VM, and tries forks of it before anybody gets one. On failure or abort nothing is left. */
export async function buildZygote(template: Template, build: ZygoteBuild): Promise<Zygote> {
  const { clone, signal } = build;
  const startedAtMs = clone.clock.monotonicMs();
  const vmId = newVmId(clone.chance);
  let running: RunningMachine | undefined;
  let paused: PausedMachine | undefined;
  try {
    signal.throwIfAborted();
    const directory = await clone.directories.create(vmId);
    signal.throwIfAborted();
    const { rootfsPath, files: source, key } = template;
    const { shape } = key;
    running = await clone.engine.clone(
      { vmId, directory, shape, rootfsPath, source, priority: "background" },
      { signal },
    );
    const cancelTimer = prioritiseLater(running, clone);
    await warm(running, build);
    cancelTimer();
    // A fork runs in the parent's own time until the child is there.
    await running.prioritise({ signal });
    paused = await running.pause({ signal, timeoutMs: stepTimeoutMs });
    await probe(paused, template, build);
    clone.log.info("zygote.made", { vmId, shape, ms: Math.round(clone.clock.monotonicMs() - startedAtMs) });
    return { kind: "zygote", machine: paused };
  } catch (error) {
    await clone.leftovers.release(vmId, paused ?? running ?? nothingRuns);
    throw error;
  }
}

async function warm(machine: RunningMachine, { clone, warmUp: steps, signal }: ZygoteBuild): Promise<void> {
  const activate = newIdentity(machine.vmId, {}, clone);
  const session = await connectAgent(clone.link, machine, { signal, timeoutMs: stepTimeoutMs, activate });
  try {
    const anew = (): ReturnType<typeof newIdentity> => newIdentity(machine.vmId, {}, clone);
    await warmUp(session, steps, { ...clone, signal, newIdentity: anew });
  } finally {
    // A fork waits for a host of its own; this one must have taken leave.
    await session.detach({ timeoutMs: stepTimeoutMs });
  }
  if ((await session.closed) !== undefined) {
    throw new InstaVmError("guest_unreachable", "the zygote's agent did not take leave; it cannot be forked");
  }
}

/** Each probe must compute right, draw its own entropy, and have a disk of its own. One that stays silent is tried again. */
async function probe(machine: PausedMachine, template: Template, build: ZygoteBuild): Promise<void> {
  const drawn: string[] = [];
  for (let silences = 0; drawn.length < probeCount;) {
    try {
      drawn.push(await probeOnce(machine, template, build));
      silences = 0;
    } catch (error) {
      silences += 1;
      if (build.signal.aborted || !isSilence(error) || silences >= silencesLimit) throw error;
      build.clone.log.warn("zygote.probe_silent", { zygote: machine.vmId, error });
    }
  }
  if (new Set(drawn).size !== probeCount) {
    throw new InstaVmError(
      "guest_failure",
      "two forks of the zygote drew the same random bytes; expected different ones",
    );
  }
}

async function probeOnce(machine: PausedMachine, { key }: Template, { clone, signal }: ZygoteBuild): Promise<string> {
  const origin = { kind: "zygote", machine } as const;
  const sandbox = await startClone({ origin, shape: key.shape, env: {}, priority: "normal" }, clone, signal);
  try {
    return await draw(await sandbox.agent(signal), signal);
  } finally {
    await sandbox.destroy({ cause: "discarded", reason: "it was only a probe" });
  }
}

/** Whether a fork failed only in that its agent did not answer in time: so does one on a host that is very busy. */
export function isSilence(error: unknown): boolean {
  return error instanceof InstaVmError && error.code === "guest_unreachable";
}

const probePath = "/var/tmp/.instavm-probe";
const probeCode = `import hashlib, os
_fd = os.open(${JSON.stringify(probePath)}, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
os.write(_fd, b"probe"); os.fsync(_fd); os.close(_fd)
print(hashlib.sha256(b"probe" * 1000).hexdigest(), os.urandom(16).hex())`;
/** Of 1000 times "probe". */
const probeDigest = "fef475a882c92c7252f9f688b879595cd43e73119e57e959f0b8c67508f9243d";

async function draw(session: AgentSession, signal: AbortSignal): Promise<string> {
  let printed = "";
  const decoder = new TextDecoder();
  const call = session.runCode(
    { code: probeCode, language: "python", limitMs: probeLimitMs, outputLimitBytes: 4096 },
    { signal },
  );
  const { exitCode, timedOut } = await readCall(call, (event) => {
    if (event.type === "stdout") printed += decoder.decode(event.data, { stream: true });
  });
  const [digest, bytes] = printed.trim().split(" ");
  if (exitCode === 0 && digest === probeDigest && bytes !== undefined) return bytes;
  if (timedOut) throw new InstaVmError("guest_unreachable", `a fork's probe did not end within ${probeLimitMs} ms`);
  throw new InstaVmError(
    "guest_failure",
    `a fork of the zygote ended a probe with exit code ${exitCode} and printed ${JSON.stringify(printed.slice(0, 100))}; expected a known digest`,
  );
}
