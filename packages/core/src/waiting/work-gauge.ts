import type { Clock } from "../ports/surroundings.ts";
import { sleep, untilAborted } from "./deadline.ts";

/** Counts the clients' work under way, so that work in the background can stand back. */
export class WorkGauge {
  readonly #clock: Clock;
  #count = 0;
  #idle: PromiseWithResolvers<void> | undefined;
  #epoch = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How many pieces of work run now. */
  get count(): number {
    return this.#count;
  }

  /** Counts until disposed: `using work = gauge.enter()`. */
  enter(): Disposable {
    this.#count += 1;
    this.#epoch += 1;
    let isInside = true;
    return {
      [Symbol.dispose]: () => {
        if (!isInside) return;
        isInside = false;
        this.#count -= 1;
        if (this.#count > 0) return;
        this.#idle?.resolve();
        this.#idle = undefined;
      },
    };
  }

  /** Resolves when nothing runs. */
  async idle(): Promise<void> {
    if (this.#count === 0) return;
    this.#idle ??= Promise.withResolvers<void>();
    await this.#idle.promise;
  }

  /** Resolves when nothing has run for `quietMs`. Wrap it in a deadline: under steady work that is never. */
  async quiet(quietMs: number, signal: AbortSignal): Promise<void> {
    for (;;) {
      await untilAborted(this.idle(), signal);
      const epoch = this.#epoch;
      await sleep(this.#clock, quietMs, signal);
      if (this.#count === 0 && this.#epoch === epoch) return;
    }
  }
}
