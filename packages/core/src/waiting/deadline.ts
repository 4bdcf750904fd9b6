import type { InstaVmError } from "@instavm/contract";
import type { Clock } from "../ports/surroundings.ts";

/** The bounds of one wait. */
export interface DeadlineBounds {
  readonly timeoutMs: number;
  /** The caller's own signal; its reason is passed on. */
  readonly signal?: AbortSignal | undefined;
  /** What the wait fails with at the deadline. */
  readonly expired: () => InstaVmError;
}

/** A signal that fires at the deadline or with the caller's signal; disposing it releases its timer. */
export interface Deadline extends Disposable {
  readonly signal: AbortSignal;
  /** True when the deadline, not the caller, ended the wait. */
  readonly hasExpired: () => boolean;
}

/** Starts a deadline: `using deadline = startDeadline(clock, { … })`. */
export function startDeadline(clock: Clock, bounds: DeadlineBounds): Deadline {
  const expiry = new AbortController();
  const cancel = clock.after(bounds.timeoutMs, () => expiry.abort(bounds.expired()));
  return {
    signal: joinSignals(expiry.signal, bounds.signal),
    hasExpired: () => expiry.signal.aborted,
    [Symbol.dispose]: cancel,
  };
}

/** One signal that fires with the first of several; undefined ones count as never. */
export function joinSignals(first: AbortSignal, ...others: readonly (AbortSignal | undefined)[]): AbortSignal {
  const present = others.filter((signal) => signal !== undefined);
  return present.length === 0 ? first : AbortSignal.any([first, ...present]);
}

/**
 * Waits for `work`, but no longer than until `signal` fires; then rejects with the signal's reason. For work that is
 * shared or that another releases: what it acquires late is not released here.
 */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  const aborted = Promise.withResolvers<never>();
  // Handled also when `work` wins the race.
  aborted.promise.catch(() => {});
  const onAbort = (): void => aborted.reject(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([aborted.promise, work]);
  } finally {
    work.catch(() => {});
    signal.removeEventListener("abort", onAbort);
  }
}

/** Resolves after `delayMs`; rejects with the signal's reason when it fires first. */
export async function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  const elapsed = Promise.withResolvers<void>();
  const cancel = clock.after(delayMs, () => elapsed.resolve());
  try {
    await untilAborted(elapsed.promise, signal);
  } finally {
    cancel();
  }
}
