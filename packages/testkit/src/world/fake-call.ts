import { InstaVmError } from "@instavm/contract";
import type { Clock, OutputEvent } from "@instavm/core";

/** A call on a fake agent: the guest pushes and ends, the host iterates and awaits. */
export class FakeCall<Ended> {
  readonly ended: Promise<Ended>;
  /** Breaks the whole session; set by the session. */
  breakSession: (why: InstaVmError) => void = () => {};
  readonly #ended = Promise.withResolvers<Ended>();
  readonly #events: OutputEvent[] = [];
  readonly #over = new AbortController();
  #wake = Promise.withResolvers<void>();

  constructor(signal: AbortSignal | undefined) {
    this.ended = this.#ended.promise;
    // Whoever iterates first sees it there; a rejection nobody awaited is not the program's end.
    this.ended.catch(() => {});
    const onAbort = (): void => this.fail(signal?.reason);
    if (signal?.aborted === true) onAbort();
    signal?.addEventListener("abort", onAbort, { once: true, signal: this.#over.signal });
  }

  /** It ended, failed or was cancelled. */
  get isOver(): boolean {
    return this.#over.signal.aborted;
  }

  push(event: OutputEvent): void {
    if (this.isOver) return;
    this.#events.push(event);
    this.#wakeReader();
  }

  end(ended: Ended): void {
    if (this.isOver) return;
    this.#over.abort();
    this.#ended.resolve(ended);
    this.#wakeReader();
  }

  fail(why: unknown): void {
    if (this.isOver) return;
    this.#over.abort();
    this.#ended.reject(why);
    this.#wakeReader();
  }

  /** Resolves after so many ms of the guest's clock, or at once when the call is over. */
  async elapse(clock: Clock, ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = Number.isFinite(ms) ? clock.after(ms, resolve) : (): void => {};
    this.#over.signal.addEventListener("abort", () => resolve(), { once: true });
    if (this.isOver) resolve();
    await promise;
    cancel();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<OutputEvent, void, undefined> {
    try {
      for (;;) {
        const event = this.#events.shift();
        if (event !== undefined) yield event;
        else if (this.isOver) return;
        else await this.#wake.promise;
      }
    } finally {
      this.fail(new InstaVmError("guest_failure", "the reader left the call: cancelled"));
    }
  }

  write(): Promise<void> {
    return Promise.resolve();
  }

  closeStdin(): void {
    // Programs of the fake read nothing.
  }

  signal(): void {
    this.fail(new InstaVmError("guest_failure", "the program was signalled"));
  }

  #wakeReader(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers<void>();
  }
}
