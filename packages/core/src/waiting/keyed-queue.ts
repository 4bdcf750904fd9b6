import { untilAborted } from "./deadline.ts";

/** Runs work for one key one after the other, in the order of the calls; other keys run beside it. */
export class KeyedQueue<K> {
  readonly #last = new Map<K, Promise<void>>();

  /** True while work for the key runs or waits. */
  isBusy(key: K): boolean {
    return this.#last.has(key);
  }

  /** Runs `work` after all earlier work of the key. The signal ends only the wait for the turn. */
  async run<T>(key: K, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const before = this.#last.get(key);
    const turn = Promise.withResolvers<void>();
    this.#last.set(key, turn.promise);
    try {
      if (before !== undefined) await untilAborted(before, signal);
      signal?.throwIfAborted();
      return await work();
    } finally {
      void this.#passOn(key, { before, turn });
    }
  }

  /** Runs `work` when nothing else of the key runs or waits; else returns undefined. For actors in the background. */
  tryRun<T>(key: K, work: () => Promise<T>): Promise<T> | undefined {
    return this.isBusy(key) ? undefined : this.run(key, work);
  }

  /** Who gave up its wait must still hold back those behind it until those before it are done. */
  async #passOn(key: K, link: { before: Promise<void> | undefined; turn: PromiseWithResolvers<void> }): Promise<void> {
    await link.before;
    link.turn.resolve();
    if (this.#last.get(key) === link.turn.promise) this.#last.delete(key);
  }
}
