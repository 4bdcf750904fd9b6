import { InstaVmError, type Shape } from "@instavm/contract";
import type { Template } from "../ports/files.ts";
import type { StartKind } from "../ports/records.ts";
import type { Pool } from "../pool/pool.ts";
import type { Templates } from "../templates/templates.ts";
import { isLinkFailure } from "../vm/agent-calls.ts";
import type { Sandbox } from "../vm/sandbox.ts";
import type { Turnstile } from "../waiting/turnstile.ts";
import type { Zygotes } from "../zygotes/zygotes.ts";
import { type CloneParts, startClone } from "./start-clone.ts";

/** The VM that a client wants. */
export interface StartRequest {
  readonly shape: Shape;
  readonly env: Readonly<Record<string, string>>;
}

/** One way to come to a running, activated VM. */
export interface StartStrategy {
  readonly kind: StartKind;
  /** Undefined = not this way now; the next strategy is tried. On failure or abort nothing is left. */
  start(request: StartRequest, signal: AbortSignal): Promise<Sandbox | undefined>;
}

/** Takes a ready VM; asks its agent for something only when there is something to ask. */
export function fromPool(pool: Pool, parts: CloneParts): StartStrategy {
  return {
    kind: "pool",
    start: async ({ shape, env }, signal) => {
      for (let sandbox = pool.take(shape); sandbox !== undefined; sandbox = pool.take(shape)) {
        if (Object.keys(env).length === 0) return sandbox;
        try {
          const session = await sandbox.agent(signal);
          const waiting = { signal, timeoutMs: parts.cloneTimeoutMs };
          await session.activate({ unixTimeMs: parts.clock.nowMs(), env }, waiting);
          return sandbox;
        } catch (error) {
          await sandbox.destroy({ cause: "discarded", reason: "it could not be handed over" });
          if (signal.aborted || !isLinkFailure(error)) throw error;
          parts.log.warn("pool.hand_over_failed", { vmId: sandbox.vmId, error });
        }
      }
      return undefined;
    },
  };
}

/** A clone that hung, lost its launcher or found a file of its template gone; that template is looked at again. */
function mayGoBetter(error: unknown): boolean {
  if (isLinkFailure(error)) return true;
  return error instanceof InstaVmError && (error.code === "engine_failed" || error.code === "launcher_unreachable");
}

/** What forks need. */
export interface ForkStrategyParts {
  readonly templates: Templates;
  readonly zygotes: Zygotes;
  /** So many start at once; more would only slow each other. */
  readonly turnstile: Turnstile;
}

/** Forks the template's zygote, when there is one. */
export function fromZygote({ templates, zygotes, turnstile }: ForkStrategyParts): StartStrategy {
  return {
    kind: "fork",
    start: async ({ shape, env }, signal) => {
      if (!zygotes.mayHave(shape)) return undefined;
      const template = await templates.get(shape, signal);
      using _pass = await turnstile.enter(signal);
      const zygote = zygotes.find(template);
      if (zygote === undefined) return undefined;
      return await zygotes.tryFork({ origin: zygote, shape, env, priority: "normal" }, signal);
    },
  };
}

/** What file clones need beside the parts of a clone. */
export interface CloneStrategyParts {
  readonly templates: Templates;
  readonly clone: CloneParts;
  /** So many start at once; more would only slow each other. */
  readonly turnstile: Turnstile;
}

/** Clones the template's files, which are made first when there are none. A clone that does not come up is tried twice. */
export function fromTemplate({ templates, clone, turnstile }: CloneStrategyParts): StartStrategy {
  const attempt = async (template: Template, { shape, env }: StartRequest, signal: AbortSignal): Promise<Sandbox> => {
    using _pass = await turnstile.enter(signal);
    try {
      return await startClone(
        { origin: { kind: "template", template }, shape, env, priority: "normal" },
        clone,
        signal,
      );
    } catch (error) {
      templates.forget(template);
      throw error;
    }
  };
  return {
    kind: "clone",
    start: async (request, signal) => {
      const template = await templates.get(request.shape, signal);
      try {
        return await attempt(template, request, signal);
      } catch (error) {
        if (signal.aborted || !mayGoBetter(error)) throw error;
        clone.log.warn("vm.clone_again", { error });
      }
      return attempt(await templates.get(request.shape, signal), request, signal);
    },
  };
}
