import type { Shape } from "@instavm/contract";
import type { Clock, Log } from "../ports/surroundings.ts";
import type { Sandbox } from "../vm/sandbox.ts";
import { sleep, startDeadline } from "../waiting/deadline.ts";
import type { WorkGauge } from "../waiting/work-gauge.ts";
import { InstaVmError } from "@instavm/contract";

const firstBackOffMs = 1_000;
const longestBackOffMs = 60_000;

/** How the pool behaves. */
export interface PoolSettings {
  /** VMs kept ready; 0 = no pool. */
  readonly size: number;
  readonly shape: Shape;
  /** A pooled VM older than this is replaced, in ms. */
  readonly maxAgeMs: number;
  /** Nothing must have run for so long before the pool makes a VM, in ms. */
  readonly quietMs: number;
  /** An empty pool makes a VM after this wait even while clients' work runs, in ms. */
  readonly starvedWaitMs: number;
  /** A pool that still has some does so after this many such waits. */
  readonly patience: number;
}

/** What the pool needs. */
export interface PoolParts {
  /** Makes one VM that needs nothing more than to be handed over; on failure or abort nothing is left. */
  readonly make: (signal: AbortSignal) => Promise<Sandbox>;
  readonly gauge: WorkGauge;
  readonly clock: Clock;
  readonly log: Log;
  readonly settings: PoolSettings;
}

interface Pooled {
  readonly sandbox: Sandbox;
  readonly cancelExpiry: () => void;
}

/** Keeps VMs of one shape ready, so that a create is a mere hand-over. Refills in the background, one at a time. */
export class Pool {
  readonly #parts: PoolParts;
  readonly #stopping = new AbortController();
  readonly #ready: Pooled[] = [];
  #filling: Promise<void> | undefined;
  #isStarted = false;

  constructor(parts: PoolParts) {
    this.#parts = parts;
  }

  /** How many VMs it keeps when it is full. */
  get size(): number {
    return this.#parts.settings.size;
  }

  /** How many can be handed over now. */
  get ready(): number {
    return this.#ready.length;
  }

  /** Begins to fill. */
  start(): void {
    this.#isStarted = true;
    this.#fill();
  }

  /** Hands over the VM that waited longest, or undefined when there is none of that shape. Its refill begins. */
  take(shape: Shape): Sandbox | undefined {
    const own = this.#parts.settings.shape;
    if (shape.vcpuCount !== own.vcpuCount || shape.memoryMib !== own.memoryMib) return undefined;
    let pooled = this.#ready.shift();
    while (pooled?.sandbox.end !== undefined) pooled = this.#ready.shift();
    this.#fill();
    pooled?.cancelExpiry();
    return pooled?.sandbox;
  }

  /** Ends what is ready and what is being made: a VM that belongs to nobody must not outlive the server. */
  async stop(): Promise<void> {
    this.#stopping.abort(new InstaVmError("unavailable", "the server stops; the pool makes no more VMs"));
    await this.#filling;
    const reason = "the server stopped before anybody needed it";
    await Promise.all(
      this.#ready.splice(0).map(async ({ sandbox, cancelExpiry }) => {
        cancelExpiry();
        await sandbox.destroy({ cause: "discarded", reason });
      }),
    );
  }

  #isWanting(): boolean {
    return this.#isStarted && !this.#stopping.signal.aborted && this.#ready.length < this.size;
  }

  #fill(): void {
    if (!this.#isWanting() || this.#filling !== undefined) return;
    this.#filling = this.#refill();
  }

  async #refill(): Promise<void> {
    const { signal } = this.#stopping;
    let backOffMs = firstBackOffMs;
    while (this.#isWanting()) {
      try {
        await this.#awaitTurn(signal);
        this.#keep(await this.#parts.make(signal));
        backOffMs = firstBackOffMs;
      } catch (error) {
        if (signal.aborted) break;
        this.#parts.log.warn("pool.make_failed", { error, nextTryInMs: backOffMs });
        await sleep(this.#parts.clock, backOffMs, signal).catch(() => {});
        backOffMs = Math.min(2 * backOffMs, longestBackOffMs);
      }
    }
    this.#filling = undefined;
  }

  /** Stands back while clients' work runs, but not for ever. */
  async #awaitTurn(signal: AbortSignal): Promise<void> {
    for (let wait = 0; wait < this.#parts.settings.patience; wait += 1) {
      if (await this.#isQuiet(signal)) return;
      if (this.#ready.length === 0) return;
    }
  }

  async #isQuiet(signal: AbortSignal): Promise<boolean> {
    const { clock, gauge, settings } = this.#parts;
    using deadline = startDeadline(clock, {
      timeoutMs: settings.starvedWaitMs,
      signal,
      expired: () => new InstaVmError("timeout", `clients' work ran for ${settings.starvedWaitMs} ms without a pause`),
    });
    try {
      await gauge.quiet(settings.quietMs, deadline.signal);
      return true;
    } catch (error) {
      if (signal.aborted) throw error;
      return false;
    }
  }

  #keep(sandbox: Sandbox): void {
    const { maxAgeMs } = this.#parts.settings;
    const cancelExpiry = this.#parts.clock.after(maxAgeMs, () => {
      if (!this.#drop(sandbox)) return;
      void sandbox.destroy({ cause: "discarded", reason: `it waited in the pool for ${maxAgeMs} ms` });
    });
    this.#ready.push({ sandbox, cancelExpiry });
    void this.#replaceWhenLost(sandbox);
  }

  async #replaceWhenLost(sandbox: Sandbox): Promise<void> {
    await sandbox.ended;
    this.#drop(sandbox);
  }

  /** False when it was handed over or dropped before. */
  #drop(sandbox: Sandbox): boolean {
    const index = this.#ready.findIndex((pooled) => pooled.sandbox === sandbox);
    if (index < 0) return false;
    this.#ready.splice(index, 1).forEach((pooled) => pooled.cancelExpiry());
    this.#fill();
    return true;
  }
}
