import { InstaVmError } from "@instavm/contract";
import { aftermathOf } from "./aftermath.ts";

/** How often a call may be sent again, and what ends the waiting between. */
export interface RetryOptions {
  /** Further tries after the first one. */
  readonly retries: number;
  /** Done twice it does no more than once. Without this only a call that has left nothing behind is sent again. */
  readonly isRepeatable: boolean;
  /** As `performance.now()` counts. */
  readonly deadlineAtMs: number;
  readonly signal: AbortSignal;
}

const firstDelayMs = 100;
const delayGrowth = 3;
/** A server that wants more patience than this gets none: its error says how long to wait. */
const longestDelayMs = 10_000;

/**
 * Calls until it succeeds, fails for good or has no try left, and then throws its last error. The waits between grow and
 * vary, so that many clients do not come back at once; the server's Retry-After is respected. A wait that would not end
 * before the deadline is not begun.
 */
export async function withRetries<Value>(call: () => Promise<Value>, options: RetryOptions): Promise<Value> {
  for (let tried = 0; ; tried += 1) {
    try {
      return await call();
    } catch (error) {
      if (tried >= options.retries || !mayRepeat(error, options.isRepeatable)) throw error;
      const delayMs = Math.max(retryAfterMs(error) ?? 0, ownDelayMs(tried));
      const fits = delayMs <= longestDelayMs && performance.now() + delayMs < options.deadlineAtMs;
      if (!fits || !(await pause(delayMs, options.signal))) throw error;
    }
  }
}

function mayRepeat(error: unknown, isRepeatable: boolean): boolean {
  const aftermath = aftermathOf(error);
  return aftermath === "nothing" || (isRepeatable && aftermath === "unknown");
}

function retryAfterMs(error: unknown): number | undefined {
  if (!(error instanceof InstaVmError) || error.retryAfterS === undefined) return undefined;
  return error.retryAfterS * 1000;
}

function ownDelayMs(tried: number): number {
  return firstDelayMs * delayGrowth ** tried * (0.75 + Math.random() / 2);
}

/** Resolves with false when the signal fired. */
export async function pause(delayMs: number, signal: AbortSignal | undefined): Promise<boolean> {
  if (signal?.aborted === true) return false;
  return await new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve(signal?.aborted !== true);
    };
    const timer = setTimeout(end, delayMs);
    signal?.addEventListener("abort", end);
  });
}
