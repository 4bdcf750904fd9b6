import { InstaVmError } from "@instavm/contract";
import type { ErrorCode as InstaVmErrorCode } from "@instavm/contract";
import { ErrorCode } from "@instavm/protocol/launcher";
import type { Error as Refusal } from "@instavm/protocol/launcher";

/** The launcher's refusal of a request as an error of the contract. `subject` says what was asked for. */
export function refusalError(refusal: Refusal, subject: string): InstaVmError {
  return new InstaVmError(codeOf(refusal.code), `${subject}: ${refusal.message}`);
}

function codeOf(code: ErrorCode): InstaVmErrorCode {
  switch (code) {
    case ErrorCode.NO_SPACE:
      return "disk_full";
    case ErrorCode.NOT_FOUND:
      return "vm_not_found";
    case ErrorCode.EXISTS:
    case ErrorCode.STILL_RUNNING:
      return "conflict";
    case ErrorCode.NOT_FORKABLE:
      return "not_forkable";
    case ErrorCode.INVALID:
    case ErrorCode.OS:
    case ErrorCode.UNSPECIFIED:
      return "engine_failed";
    default:
      // A code of a later launcher: enum fields are open.
      return "engine_failed";
  }
}
