import type { InstaVmError } from "@instavm/contract";

/** When a call must be over, and what it fails with then. */
export interface Deadline {
  readonly ms: number;
  readonly error: () => InstaVmError;
}

/** Runs `work`; at the deadline its signal aborts and the call fails, whether or not the work heeds the signal. */
export async function withDeadline<Result>(
  parent: AbortSignal,
  deadline: Deadline,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  const controller = new AbortController();
  const passOn = (): void => controller.abort(parent.reason);
  const { promise: ended, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => controller.abort(deadline.error()), deadline.ms);
  controller.signal.addEventListener("abort", () => reject(controller.signal.reason), { once: true });
  if (parent.aborted) passOn();
  else parent.addEventListener("abort", passOn, { once: true });
  try {
    return await Promise.race([ended, work(controller.signal)]);
  } finally {
    clearTimeout(timer);
    parent.removeEventListener("abort", passOn);
  }
}
