/** A wait that took longer than it may. Adapters turn it into an error of the contract. */
export class DeadlineExceeded extends Error {
  /** What was waited for: a noun phrase. */
  readonly subject: string;
  readonly timeoutMs: number;

  constructor(subject: string, timeoutMs: number) {
    super(`${subject} took longer than ${timeoutMs} ms`);
    this.name = "DeadlineExceeded";
    this.subject = subject;
    this.timeoutMs = timeoutMs;
  }
}

/** The bounds of one wait. */
export interface Deadline {
  /** What is waited for, for the message: a noun phrase. */
  readonly subject: string;
  readonly timeoutMs: number;
  /** The caller's own signal; its reason is what the wait rejects with. */
  readonly signal?: AbortSignal | undefined;
}

/** A signal that fires at the deadline or with the caller's signal. Disposing releases its timer and listener. */
export interface DeadlineSignal extends Disposable {
  readonly signal: AbortSignal;
}

/** The longest delay a timer of Node holds; a longer one would fire at once. */
const longestTimerMs = 2 ** 31 - 1;

/**
 * Starts the clock of a wait: `using deadline = startDeadline({...})`. The signal's reason is a
 * `DeadlineExceeded`, or the caller's own reason. The timer never keeps the program alive.
 */
export function startDeadline(bounds: Deadline): DeadlineSignal {
  const expiry = new AbortController();
  const timer = setTimeout(
    () => expiry.abort(new DeadlineExceeded(bounds.subject, bounds.timeoutMs)),
    Math.min(Math.max(bounds.timeoutMs, 0), longestTimerMs),
  );
  timer.unref();
  const signal = bounds.signal === undefined ? expiry.signal : AbortSignal.any([expiry.signal, bounds.signal]);
  return { signal, [Symbol.dispose]: () => clearTimeout(timer) };
}

/**
 * Runs `wait` under a deadline. At the deadline it rejects with `DeadlineExceeded`, at the caller's abort with
 * the signal's reason, even when `wait` does not heed the signal it is given; a late outcome is dropped, so
 * `wait` itself releases what it acquires after its signal fired.
 */
export async function withDeadline<T>(wait: (signal: AbortSignal) => Promise<T>, bounds: Deadline): Promise<T> {
  using deadline = startDeadline(bounds);
  return await untilAborted(wait, deadline.signal);
}

/** Runs `wait` until it settles or the signal fires, whichever is first; then it rejects with the signal's reason. */
export async function untilAborted<T>(wait: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  // Handled even when `wait` throws before the race begins.
  aborted.promise.catch(() => {});
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([wait(signal), aborted.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
