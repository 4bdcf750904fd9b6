import { untilAborted } from "../waiting/deadline.ts";

/** Work that several callers wait for. It is aborted when the last of them has left. */
export class SharedCall<Result> {
  readonly requestHash: string;
  /** Resolves when the work has ended, however. */
  readonly settled: Promise<void>;
  readonly #result: Promise<Result>;
  readonly #leaving = new AbortController();
  #waiting = 0;

  /** Starts the work in the next turn. */
  constructor(requestHash: string, work: (signal: AbortSignal) => Promise<Result>) {
    this.requestHash = requestHash;
    this.#result = Promise.resolve().then(() => work(this.#leaving.signal));
    this.settled = this.#result.then(
      () => undefined,
      () => undefined,
    );
  }

  /** Nobody waits any more: the work is being given up. */
  get isAbandoned(): boolean {
    return this.#leaving.signal.aborted;
  }

  /** Rejects with what the work throws, or the signal's reason. */
  async join(signal: AbortSignal): Promise<Result> {
    this.#waiting += 1;
    try {
      return await untilAborted(this.#result, signal);
    } finally {
      this.#waiting -= 1;
      if (this.#waiting === 0) this.#leaving.abort(signal.aborted ? signal.reason : undefined);
    }
  }
}
