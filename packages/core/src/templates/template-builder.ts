import { InstaVmError, type VmId } from "@instavm/contract";
import type { AgentLink, AgentSession } from "../ports/agent-link.ts";
import type { Engine, RunningMachine } from "../ports/engine.ts";
import type { Image, Template, TemplateDraft, TemplateKey, TemplateStore, VmDirectories } from "../ports/files.ts";
import type { Chance, Clock, Log } from "../ports/surroundings.ts";
import { connectAgent } from "../vm/connect-agent.ts";
import { newIdentity } from "../vm/identity.ts";
import { newVmId } from "../vm/ids.ts";
import { logLastWords } from "../vm/last-words.ts";
import { type Leftovers, nothingRuns } from "../vm/leftovers.ts";
import { isLinkFailure } from "../vm/agent-calls.ts";
import { joinSignals } from "../waiting/deadline.ts";
import { type BootLimits, watchBoot } from "./boot-watchdog.ts";
import { warmUp } from "./warm-up.ts";
import type { WarmUpStep } from "./warm-up-steps.ts";

const stepTimeoutMs = 60_000;
/** A disk with less is as good as full: what failed on it failed for want of room. */
const fullDiskMib = 16;

/** What templates are built with. */
export interface TemplateParts {
  readonly engine: Engine;
  readonly link: AgentLink;
  readonly templates: TemplateStore;
  readonly directories: VmDirectories;
  readonly leftovers: Leftovers;
  readonly clock: Clock;
  readonly chance: Chance;
  readonly log: Log;
  readonly settings: TemplateSettings;
}

/** How templates are built. */
export interface TemplateSettings {
  /** How long a booting VM may take until its agent answers; then it is ended and booted anew. */
  readonly boot: BootLimits;
  /** Boots until giving up. */
  readonly bootAttempts: number;
  readonly warmUp: readonly WarmUpStep[];
}

/** Boots, warms up and saves one template. A VM that hangs is ended and booted anew; on failure nothing is left. */
export async function buildTemplate(
  key: TemplateKey,
  image: Image,
  options: { readonly parts: TemplateParts; readonly signal: AbortSignal },
): Promise<Template> {
  const { log, clock, settings } = options.parts;
  const startedAtMs = clock.monotonicMs();
  for (let attempt = 1; ; attempt += 1) {
    try {
      const template = await buildOnce(key, image, options);
      log.info("template.built", { shape: key.shape, attempt, ms: Math.round(clock.monotonicMs() - startedAtMs) });
      return template;
    } catch (error) {
      if (options.signal.aborted || !isLinkFailure(error) || attempt >= settings.bootAttempts) throw error;
      log.warn("template.boot_again", { shape: key.shape, attempt, error });
    }
  }
}

async function buildOnce(
  key: TemplateKey,
  image: Image,
  { parts, signal }: { readonly parts: TemplateParts; readonly signal: AbortSignal },
): Promise<Template> {
  signal.throwIfAborted();
  const draft = await parts.templates.draft(key, image.boot.rootfsPath);
  try {
    await fill(draft, { key, image, parts, signal });
    signal.throwIfAborted();
    return await draft.commit();
  } catch (error) {
    const cause = await explain(error, { draft, key, parts });
    await discard(draft, parts.log);
    throw cause;
  }
}

interface FailedDraft {
  readonly draft: TemplateDraft;
  readonly key: TemplateKey;
  readonly parts: TemplateParts;
}

/** The VM of a template that finds no room for its memory dies of it, whatever it was doing. */
async function explain(error: unknown, { draft, key, parts }: FailedDraft): Promise<unknown> {
  try {
    const freeMib = Math.floor((await draft.freeBytes()) / 2 ** 20);
    if (freeMib >= fullDiskMib) return error;
    const { vcpuCount, memoryMib } = key.shape;
    return new InstaVmError(
      "disk_full",
      `The template for ${vcpuCount} vCPU and ${memoryMib} MiB could not be made: the filesystem of ${draft.directory} has ${freeMib} MiB free; expected room for the VM's memory`,
      { next: "Free disk space under the cache directory, or choose another with --cache-dir.", cause: error },
    );
  } catch (failure) {
    parts.log.warn("template.free_space_unknown", { directory: draft.directory, error: failure });
    return error;
  }
}

interface Filling {
  readonly key: TemplateKey;
  readonly image: Image;
  readonly parts: TemplateParts;
  readonly signal: AbortSignal;
}

/** Makes the draft's files with a VM that is gone afterwards, however it went. */
async function fill(draft: TemplateDraft, filling: Filling): Promise<void> {
  const { key, image, parts, signal } = filling;
  const vmId = newVmId(parts.chance);
  let machine: RunningMachine | undefined;
  try {
    signal.throwIfAborted();
    const directory = await parts.directories.create(vmId);
    signal.throwIfAborted();
    machine = await parts.engine.boot(
      {
        vmId,
        directory,
        shape: key.shape,
        rootfsPath: image.boot.rootfsPath,
        boot: image.boot,
        memoryPath: draft.files.memoryPath,
        blankDiskPath: image.blankDiskPath,
      },
      { signal },
    );
    await warm(machine, vmId, filling);
    await save(machine, draft, signal);
  } catch (error) {
    if (!signal.aborted) await logLastWords(machine, parts.log);
    throw error;
  } finally {
    // A boot that failed has left no process.
    await parts.leftovers.release(vmId, machine ?? nothingRuns);
  }
}

async function warm(machine: RunningMachine, vmId: VmId, { parts, signal }: Filling): Promise<void> {
  const { settings, clock, log } = parts;
  const session = await untilBooted(machine, { parts, signal });
  try {
    await warmUp(session, settings.warmUp, { clock, log, signal, newIdentity: () => newIdentity(vmId, {}, parts) });
  } finally {
    // The saved state must not hold a session: its clones would wait for a host that is not theirs.
    await session.detach({ timeoutMs: stepTimeoutMs });
  }
  if ((await session.closed) !== undefined) {
    throw new InstaVmError("guest_unreachable", "the template's agent did not take leave; its state cannot be saved");
  }
}

async function untilBooted(
  machine: RunningMachine,
  { parts, signal }: Pick<Filling, "parts" | "signal">,
): Promise<AgentSession> {
  const { boot } = parts.settings;
  using watchdog = watchBoot(machine, boot, parts);
  return await connectAgent(parts.link, machine, {
    signal: joinSignals(watchdog.signal, signal),
    timeoutMs: boot.bootLimitMs,
  });
}

async function save(machine: RunningMachine, draft: TemplateDraft, signal: AbortSignal): Promise<void> {
  const waiting = { signal, timeoutMs: stepTimeoutMs };
  const paused = await machine.pause(waiting);
  await paused.saveDeviceState(draft.files.statePath, waiting);
  await paused.saveDisk(draft.files.diskPath, waiting);
  // Memory is whole in its file once the process is gone.
  await paused.end({ timeoutMs: stepTimeoutMs });
}

async function discard(draft: TemplateDraft, log: Log): Promise<void> {
  try {
    await draft.discard();
  } catch (error) {
    log.warn("template.discard_failed", { directory: draft.directory, error });
  }
}
