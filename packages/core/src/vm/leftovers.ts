import type { VmId } from "@instavm/contract";
import type { Engine } from "../ports/engine.ts";
import type { VmDirectories } from "../ports/files.ts";
import type { Clock, Log } from "../ports/surroundings.ts";
import type { Waiting } from "../ports/waiting.ts";

const firstRetryMs = 1_000;
const longestRetryMs = 60_000;
const stepTimeoutMs = 10_000;

/** What a release needs. */
export interface LeftoverParts {
  readonly engine: Engine;
  readonly directories: VmDirectories;
  readonly clock: Clock;
  readonly log: Log;
}

/** What of a machine its release needs. */
interface Ending {
  end(waiting?: Waiting): Promise<unknown>;
}

/** For a VM that has no process. */
export const nothingRuns: Ending = { end: () => Promise.resolve() };

/** VMs whose release failed, tried again until process and directory are gone. */
export class Leftovers {
  readonly #parts: LeftoverParts;
  readonly #vmIds = new Set<VmId>();
  #cancelTimer: (() => void) | undefined;
  #delayMs = firstRetryMs;
  #isStopped = false;

  constructor(parts: LeftoverParts) {
    this.#parts = parts;
  }

  /** How many VMs still wait for their release. */
  get count(): number {
    return this.#vmIds.size;
  }

  /**
   * Ends a VM's process and removes its directory. Without `machine` the engine is asked for it. What fails is tried
   * again later. Never rejects.
   */
  async release(vmId: VmId, machine?: Ending): Promise<void> {
    try {
      await this.#release(vmId, machine);
    } catch (error) {
      this.#parts.log.error("vm.release_failed", { vmId, error });
      this.#vmIds.add(vmId);
      this.#arm();
    }
  }

  /** No more tries; the next server's start finds what is left. */
  stop(): void {
    this.#isStopped = true;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  async #release(vmId: VmId, known?: Ending): Promise<void> {
    const { engine, directories } = this.#parts;
    const machine = known ?? (await engine.adopt(vmId, directories.path(vmId), { timeoutMs: stepTimeoutMs }));
    await machine?.end({ timeoutMs: stepTimeoutMs });
    await directories.remove(vmId);
  }

  #arm(): void {
    if (this.#isStopped || this.#cancelTimer !== undefined) return;
    this.#cancelTimer = this.#parts.clock.after(this.#delayMs, () => {
      this.#cancelTimer = undefined;
      void this.#retry();
    });
    this.#delayMs = Math.min(2 * this.#delayMs, longestRetryMs);
  }

  async #retry(): Promise<void> {
    for (const vmId of this.#vmIds) {
      try {
        await this.#release(vmId);
        this.#vmIds.delete(vmId);
        this.#parts.log.info("vm.released_late", { vmId });
      } catch (error) {
        this.#parts.log.warn("vm.release_failed", { vmId, error });
      }
    }
    if (this.#vmIds.size > 0) this.#arm();
    else this.#delayMs = firstRetryMs;
  }
}
