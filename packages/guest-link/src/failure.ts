import { type ErrorCode, InstaVmError } from "@instavm/contract";
import { type Failure, FailureCode } from "@instavm/protocol/guest";
import { guestProtocolError } from "./link-errors.ts";

/** What a call is about: the same failure of the guest means something else for a file than for a context. */
export type CallTopic = "vm" | "process" | "background" | "code" | "context" | "file" | "watch";

interface Meaning {
  readonly code: ErrorCode;
  readonly next?: string;
}

const longestMessage = 4096;

/** What the agent reported, as an error of the contract. Throws `guest_protocol` when the report itself is wrong. */
export function readFailure(
  failure: Failure,
  call: { readonly subject: string; readonly topic: CallTopic },
): InstaVmError {
  const { code, next } = meaningOf(failure.code, call.topic);
  const seen = printable(failure.message);
  return new InstaVmError(
    code,
    `${call.subject}: ${seen === "" ? "the guest gave no reason" : seen}`,
    next === undefined ? {} : { next },
  );
}

function meaningOf(code: FailureCode, topic: CallTopic): Meaning {
  switch (code) {
    case FailureCode.INVALID:
      return { code: "invalid" };
    case FailureCode.NOT_FOUND:
      if (topic === "background") return { code: "command_not_found" };
      return { code: topic === "context" || topic === "code" ? "context_not_found" : "file_not_found" };
    case FailureCode.IS_DIRECTORY:
      return { code: "invalid", next: "Name a file, not a directory." };
    case FailureCode.PERMISSION:
      return { code: "invalid", next: "Choose a path or a user that may do this inside the VM." };
    case FailureCode.NO_SPACE:
      return { code: "guest_failure", next: "Delete files inside the VM: its disk is full." };
    case FailureCode.LIMIT:
      if (topic === "context") return { code: "limit_exceeded", next: "Delete a context that is not needed." };
      return { code: topic === "file" ? "too_large" : "limit_exceeded" };
    case FailureCode.NO_ENTROPY:
      return {
        code: "guest_failure",
        next: "Do not use this VM: its random numbers would repeat another's. Start a new one.",
      };
    case FailureCode.CANCELLED:
      return { code: "cancelled" };
    case FailureCode.INTERNAL:
      return { code: "guest_failure" };
    case FailureCode.UNSUPPORTED:
      return {
        code: "not_implemented",
        next: "Rebuild the base image with script/setup: its agent does not know this call.",
      };
    case FailureCode.CONFLICT:
      return { code: "conflict" };
    case FailureCode.UNSPECIFIED:
      throw guestProtocolError("a failure without a code");
    default:
      throw guestProtocolError(`a failure with code ${String(code)}`);
  }
}

/** A sentence from the guest, cut, and without what could steer a terminal. */
export function printable(text: string): string {
  return text.slice(0, longestMessage).replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "�");
}
