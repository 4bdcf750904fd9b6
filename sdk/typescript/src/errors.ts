import { InstaVmError } from "@instavm/contract";
import type { ErrorCode } from "@instavm/contract";

/** Whether something that was thrown is an error of InstaVM; with codes, whether it has one of these. */
export function isInstaVmError(error: unknown, ...codes: readonly ErrorCode[]): error is InstaVmError {
  return error instanceof InstaVmError && (codes.length === 0 || codes.includes(error.code));
}

/** Whether the thing that was asked for does not exist, or belongs to another key. */
export function isNotFound(error: unknown): error is InstaVmError {
  return isInstaVmError(error) && error.status === 404;
}

/** Whether the same call can succeed later without a change. */
export function isRetryable(error: unknown): error is InstaVmError {
  return isInstaVmError(error) && error.retryable;
}
