import type { AgentSession } from "../ports/agent-link.ts";
import type { Waiting } from "../ports/waiting.ts";
import { joinSignals } from "../waiting/deadline.ts";
import type { WorkGauge } from "../waiting/work-gauge.ts";
import { explainLoss } from "./explain-loss.ts";
import type { OwnVms, ReachedVm, VmReference } from "./own-vms.ts";
import type { Caller } from "./sessions.ts";

/** What calls on VMs are made with. */
export interface VmCallsParts {
  readonly ownVms: OwnVms;
  readonly gauge: WorkGauge;
  /** Fires when the server stops. */
  readonly closing: AbortSignal;
}

/** Who asks for which VM. */
export interface AskedVm {
  readonly caller: Caller;
  readonly vm: VmReference;
  readonly waiting: Waiting;
  /** The call waits for the guest as long as that takes; work in the background need not stand back for it. */
  readonly isLasting?: boolean;
}

/** A caller's way to one VM. */
export interface OpenedVm {
  readonly agent: AgentSession;
  readonly vm: ReachedVm;
  /** Fires when the caller gives up or the server stops. */
  readonly signal: AbortSignal;
}

/** Calls on the agents of the callers' VMs; an error says what became of the VM. */
export class VmCalls {
  readonly #parts: VmCallsParts;
  readonly #during: string;

  /** `during`: a clause for errors, such as `while a file was moved`. */
  constructor(parts: VmCallsParts, during: string) {
    this.#parts = parts;
    this.#during = during;
  }

  /** One call on the agent of the caller's VM. */
  async call<T>(asked: AskedVm, work: (opened: OpenedVm) => Promise<T>): Promise<T> {
    const { caller, vm, waiting, isLasting = false } = asked;
    const signal = joinSignals(this.#parts.closing, waiting.signal);
    signal.throwIfAborted();
    using _work = isLasting ? undefined : this.#parts.gauge.enter();
    const reached = await this.#parts.ownVms.reach(caller, vm, { ...waiting, signal });
    const opened = { agent: reached.agent, vm: reached, signal };
    try {
      return await work(opened);
    } catch (error) {
      throw await this.#explanation(error, opened);
    }
  }

  /** Content that is read behind its call; it counts as work until its end. */
  async *pieces<T>(content: AsyncIterable<T>, opened: OpenedVm): AsyncGenerator<T, void, undefined> {
    using _work = this.#parts.gauge.enter();
    try {
      yield* content;
    } catch (error) {
      throw await this.#explanation(error, opened);
    }
  }

  async #explanation(error: unknown, { vm, signal }: OpenedVm): Promise<unknown> {
    if (signal.aborted) return signal.reason;
    return explainLoss(error, { vm, session: vm.session, during: this.#during });
  }
}
