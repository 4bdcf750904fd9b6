import { aftermathOf } from "./aftermath.ts";
import { isInstaVmError } from "./errors.ts";
import { pause } from "./retries.ts";

/** How often in a row something may break before it has brought anything. */
const mostBreaks = 6;
const firstPauseMs = 200;
const longestPauseMs = 2000;

/** Counts how often in a row a long read broke: a server that is started again is away for some seconds. */
export class Breaks {
  #count = 0;
  readonly #signal: AbortSignal | undefined;

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
  }

  /** Something came. */
  reset(): void {
    this.#count = 0;
  }

  /** Waits, each time longer, before the next try. Throws the error when no try is left, or none would help. */
  async take(error: unknown): Promise<void> {
    const isPassing = aftermathOf(error) !== undefined && !isInstaVmError(error, "vm_lost");
    if (!isPassing || this.#count >= mostBreaks) throw error;
    await pause(Math.min(firstPauseMs * 2 ** this.#count, longestPauseMs), this.#signal);
    this.#count += 1;
  }
}
