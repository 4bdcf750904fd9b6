import type { InstaVmError } from "@instavm/contract";

/** What a request that failed, for a reason that may pass, has left behind: nothing for sure, or perhaps all that it asked for. */
export type Aftermath = "nothing" | "unknown";

const aftermaths = new WeakMap<object, Aftermath>();

/** Notes of an error that the next try may go better. */
export function mayPass(error: InstaVmError, aftermath: Aftermath): InstaVmError {
  aftermaths.set(error, aftermath);
  return error;
}

/** Undefined for what the next try would meet again. */
export function aftermathOf(error: unknown): Aftermath | undefined {
  return typeof error === "object" && error !== null ? aftermaths.get(error) : undefined;
}
