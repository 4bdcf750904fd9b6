import { untilAborted } from "./deadline.ts";

/** Lets a limited number pass at once; the others wait in the order in which they came. */
export class Turnstile {
  readonly #waiting: PromiseWithResolvers<void>[] = [];
  #free: number;

  constructor(limit: number) {
    this.#free = limit;
  }

  /** Resolves when there is room; disposing the pass makes room for the next. */
  async enter(signal?: AbortSignal): Promise<Disposable> {
    signal?.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await this.#wait(signal);
    let isInside = true;
    return {
      [Symbol.dispose]: () => {
        if (isInside) this.#leave();
        isInside = false;
      },
    };
  }

  async #wait(signal: AbortSignal | undefined): Promise<void> {
    const place = Promise.withResolvers<void>();
    this.#waiting.push(place);
    try {
      await untilAborted(place.promise, signal);
    } catch (error) {
      const index = this.#waiting.indexOf(place);
      if (index >= 0) this.#waiting.splice(index, 1);
      // It was let in at the moment in which it gave up: the next one takes its room.
      else this.#leave();
      throw error;
    }
  }

  #leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next.resolve();
  }
}
