import { InstaVmError } from "@instavm/contract";

/** How often a call may be sent again, and what ends the waiting between. */
export interface RetryOptions {
  /** Further tries after the first one. */
  readonly retries: number;
  readonly signal: AbortSignal;
}

const firstDelayMs = 100;
const delayGrowth = 3;
/** A server that wants more patience than this gets none: its error says how long to wait. */
const longestDelayMs = 10_000;

/**
 * Calls until it succeeds, fails for good or has no try left, and then throws its last error. Only for calls that change nothing.
 * The waits between grow and vary, so that many clients do not come back at once; the server's Retry-After is respected.
 */
export async function withRetries<Value>(call: () => Promise<Value>, options: RetryOptions): Promise<Value> {
  for (let tried = 0; ; tried += 1) {
    try {
      return await call();
    } catch (error) {
      if (tried >= options.retries || !isPassing(error)) throw error;
      const delayMs = error.retryAfterS === undefined ? ownDelayMs(tried) : error.retryAfterS * 1000;
      if (delayMs > longestDelayMs || !(await pause(delayMs, options.signal))) throw error;
    }
  }
}

/** What the next try may find gone. A timeout or a cancel is the caller's own will. */
function isPassing(error: unknown): error is InstaVmError {
  return error instanceof InstaVmError && error.retryable && error.code !== "timeout" && error.code !== "cancelled";
}

function ownDelayMs(tried: number): number {
  return firstDelayMs * delayGrowth ** tried * (0.75 + Math.random() / 2);
}

/** Resolves with false when the signal fired. */
async function pause(delayMs: number, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return false;
  return await new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve(!signal.aborted);
    };
    const timer = setTimeout(end, delayMs);
    signal.addEventListener("abort", end);
  });
}
