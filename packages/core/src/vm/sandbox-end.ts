import type { VmStatus } from "./vm-status.ts";

/** What ended a sandbox. */
export type EndCause =
  /** Its owner ended it. */
  | "killed"
  /** Its lifetime ran out. */
  | "expired"
  /** The host no longer wanted it: a pooled VM that got old, a create that failed. */
  | "discarded"
  /** Its process ended by itself or was ended by somebody else. */
  | "process_ended"
  /** Its agent stopped answering, so the host ended it. */
  | "unreachable";

/** How a sandbox ended. */
export interface SandboxEnd {
  readonly cause: EndCause;
  /** One sentence for a person, without the VM's id. */
  readonly reason: string;
}

/** The last status of a VM that ended so. */
export function statusAfter(cause: EndCause): VmStatus {
  switch (cause) {
    case "killed":
    case "expired":
    case "discarded":
      return "terminated";
    case "process_ended":
    case "unreachable":
      return "failed";
  }
}
