import { InstaVmError } from "@instavm/contract";

/** The agent broke the protocol; `observed` says what came. The session ends with it. */
export function guestProtocolError(observed: string, cause?: unknown): InstaVmError {
  return new InstaVmError("guest_protocol", `The guest agent broke the protocol: ${observed}.`, { cause });
}

/** The agent did not do something in time. */
export function guestUnreachableError(observed: string, cause?: unknown): InstaVmError {
  return new InstaVmError("guest_unreachable", `The guest agent cannot be reached: ${observed}.`, { cause });
}

/** The connection ended by itself. */
export function connectionLostError(observed: string, cause?: unknown): InstaVmError {
  return new InstaVmError("vm_lost", `The connection to the guest agent ended: ${observed}.`, { cause });
}

/** The caller's side ended the call. */
export function cancelledError(subject: string, why: string): InstaVmError {
  return new InstaVmError("cancelled", `${subject} was cancelled: ${why}.`);
}
