import type { Waiting } from "@instavm/core";
import type { GuestStream } from "./guest-stream.ts";
import { cancelledError, guestUnreachableError } from "./link-errors.ts";

/** The longest delay that a timer of Node holds. */
const longestTimerMs = 2 ** 31 - 1;

/** Ends the call at its deadline or with the caller's signal; releases timer and listener when the call ends. */
export function boundCall(subject: string, stream: GuestStream, waiting: Waiting): void {
  const { signal, timeoutMs } = waiting;
  const releases: (() => void)[] = [];
  if (signal !== undefined) {
    const onAbort = (): void => stream.cancel(abortError(subject, signal));
    signal.addEventListener("abort", onAbort, { once: true });
    releases.push(() => signal.removeEventListener("abort", onAbort));
  }
  if (timeoutMs !== undefined) {
    const late = (): void => stream.cancel(guestUnreachableError(`${subject} was not answered within ${timeoutMs} ms`));
    const timer = setTimeout(late, Math.min(timeoutMs, longestTimerMs));
    timer.unref();
    releases.push(() => clearTimeout(timer));
  }
  if (releases.length === 0) return;
  const release = (): void => {
    for (const each of releases) each();
  };
  stream.outcome.then(release, release);
}

/** The caller's own reason, when it is an error. */
export function abortError(subject: string, signal: AbortSignal): Error {
  const reason: unknown = signal.reason;
  return reason instanceof Error ? reason : cancelledError(subject, "the caller gave it up");
}
