import { InstaVmError, type Shape, type VmId } from "@instavm/contract";
import type { StartKind } from "../ports/records.ts";
import type { Pool } from "../pool/pool.ts";
import type { HostStatus } from "../sessions/sessions.ts";
import type { Templates } from "../templates/templates.ts";
import type { Sandbox } from "../vm/sandbox.ts";
import type { SandboxEnd } from "../vm/sandbox-end.ts";
import { joinSignals } from "../waiting/deadline.ts";
import type { Turnstile } from "../waiting/turnstile.ts";
import { type Adoption, adoptVms } from "./adopt.ts";
import type { Zygotes } from "../zygotes/zygotes.ts";
import { type CloneParts, startClone } from "./start-clone.ts";
import type { StartRequest, StartStrategy } from "./start-strategies.ts";

/** A VM that was just started for a session. */
export interface Started {
  readonly sandbox: Sandbox;
  readonly start: StartKind;
  /** From the request to the activated VM, in ms. */
  readonly readyMs: number;
}

/** Copies of a VM that runs. */
export interface ForkRequest {
  readonly count: number;
  /** Added to what the source has. */
  readonly env: Readonly<Record<string, string>>;
}

/** What a host is made of. */
export interface HostParts {
  readonly templates: Templates;
  readonly pool: Pool;
  readonly zygotes: Zygotes;
  readonly clone: CloneParts;
  /** Tried in this order. */
  readonly strategies: readonly StartStrategy[];
  /** So many copies of VMs that run are made at once; more would only slow each other. */
  readonly forks: Turnstile;
}

/** The VMs of one machine. */
export class Host {
  readonly #parts: HostParts;
  readonly #closing = new AbortController();
  /** VMs of sessions; the pool keeps its own. */
  readonly #sandboxes = new Map<VmId, Sandbox>();
  readonly #startsByKind: Record<StartKind, number> = { pool: 0, fork: 0, clone: 0, boot: 0 };
  readonly #starting = new Set<Promise<unknown>>();

  constructor(parts: HostParts) {
    this.#parts = parts;
  }

  /** Starts a VM in the quickest way there is. On failure or abort nothing is left. */
  async create(request: StartRequest, signal?: AbortSignal): Promise<Started> {
    const starting = this.#start(request, joinSignals(this.#closing.signal, signal));
    this.#starting.add(starting);
    try {
      return await starting;
    } finally {
      this.#starting.delete(starting);
    }
  }

  /**
   * Copies a VM that runs, as often as asked for, while it goes on; each copy has its memory, processes and files, and an
   * identity of its own. All or none. Throws `vm_not_found`, `not_forkable`.
   */
  async fork(vmId: VmId, request: ForkRequest, signal?: AbortSignal): Promise<readonly Started[]> {
    const sandbox = this.find(vmId);
    if (sandbox === undefined) throw new InstaVmError("vm_not_found", `VM ${vmId} does not run here`);
    const joined = joinSignals(this.#closing.signal, signal);
    const forking = this.#forkAll(sandbox, request, joined);
    this.#starting.add(forking);
    try {
      return await forking;
    } finally {
      this.#starting.delete(forking);
    }
  }

  /** The VM when it lives here and its end has not begun. */
  find(vmId: VmId): Sandbox | undefined {
    const sandbox = this.#sandboxes.get(vmId);
    return sandbox?.end === undefined ? sandbox : undefined;
  }

  /** Ends a VM; without effect when it does not live here. Resolves when nothing of it is left. */
  async destroy(vmId: VmId, how: SandboxEnd): Promise<void> {
    await this.#sandboxes.get(vmId)?.destroy(how);
  }

  /** Takes over what an earlier server left: the wanted VMs live on, everything else is removed. */
  async adopt(wanted: ReadonlyMap<VmId, Shape>): Promise<Adoption> {
    const adoption = await adoptVms(wanted, this.#parts.clone);
    for (const sandbox of adoption.adopted) this.#keep(sandbox);
    return adoption;
  }

  /** Begins to keep VMs ready. */
  startPool(): void {
    this.#parts.pool.start();
  }

  /** Figures for health and metrics. Throws `host_setup` when the engine cannot work here. */
  async status(): Promise<HostStatus> {
    const { pool, zygotes, clone } = this.#parts;
    return {
      facts: await clone.engine.facts(),
      pool: { size: pool.size, ready: pool.ready },
      zygoteCount: zygotes.ready,
      vmCount: this.#sandboxes.size,
      startsByKind: { ...this.#startsByKind },
    };
  }

  /** Leaves the sessions' VMs running for the next server; everything else is ended. */
  async close(): Promise<void> {
    this.#closing.abort(new InstaVmError("unavailable", "the server stops; no VM is started"));
    const { pool, templates, zygotes } = this.#parts;
    await Promise.all([pool.stop(), templates.close(), Promise.allSettled(this.#starting)]);
    await zygotes.close();
    await Promise.all([...this.#sandboxes.values()].map((sandbox) => sandbox.detach()));
    this.#parts.clone.leftovers.stop();
  }

  async #start(request: StartRequest, signal: AbortSignal): Promise<Started> {
    const { clock, log } = this.#parts.clone;
    const startedAtMs = clock.monotonicMs();
    for (const strategy of this.#parts.strategies) {
      signal.throwIfAborted();
      const sandbox = await this.#try(strategy, request, signal);
      if (sandbox === undefined) continue;
      if (signal.aborted) {
        await sandbox.destroy({ cause: "discarded", reason: "nobody waited for it any more" });
        signal.throwIfAborted();
      }
      const readyMs = clock.monotonicMs() - startedAtMs;
      this.#startsByKind[strategy.kind] += 1;
      this.#keep(sandbox);
      log.info("vm.started", { vmId: sandbox.vmId, start: strategy.kind, readyMs });
      return { sandbox, start: strategy.kind, readyMs };
    }
    throw new InstaVmError("internal", "no way to start a VM is configured; expected at least one");
  }

  async #forkAll(sandbox: Sandbox, { count, env }: ForkRequest, signal: AbortSignal): Promise<readonly Started[]> {
    const { clone, forks } = this.#parts;
    // What one fails for is likely to stop the others too; none of them is wanted then.
    const failing = new AbortController();
    const copying = joinSignals(failing.signal, signal);
    const one = async (): Promise<Started> => {
      using _pass = await forks.enter(copying);
      const startedAtMs = clone.clock.monotonicMs();
      const request = { origin: { kind: "sandbox", sandbox }, shape: sandbox.shape, env, priority: "normal" } as const;
      const copy = await startClone(request, clone, copying);
      return { sandbox: copy, start: "fork", readyMs: clone.clock.monotonicMs() - startedAtMs };
    };
    const attempts = Array.from({ length: count }, async () => {
      try {
        return await one();
      } catch (error) {
        failing.abort(error);
        throw error;
      }
    });
    const outcomes = await Promise.allSettled(attempts);
    const made = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed === undefined) {
      for (const { sandbox: copy } of made) this.#keep(copy);
      this.#startsByKind.fork += made.length;
      return made;
    }
    const reason = "another copy of the same fork could not be made";
    await Promise.all(made.map(({ sandbox: copy }) => copy.destroy({ cause: "discarded", reason })));
    signal.throwIfAborted();
    throw failed.reason;
  }

  async #try(strategy: StartStrategy, request: StartRequest, signal: AbortSignal): Promise<Sandbox | undefined> {
    try {
      return await strategy.start(request, signal);
    } catch (error) {
      // Why it was called off says more than what it was doing then.
      signal.throwIfAborted();
      throw error;
    }
  }

  #keep(sandbox: Sandbox): void {
    this.#sandboxes.set(sandbox.vmId, sandbox);
    void this.#dropWhenEnded(sandbox);
  }

  async #dropWhenEnded(sandbox: Sandbox): Promise<void> {
    await sandbox.ended;
    this.#sandboxes.delete(sandbox.vmId);
  }
}
