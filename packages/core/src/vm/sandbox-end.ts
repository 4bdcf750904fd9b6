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
export const statusAfter = {
  killed: "terminated",
  expired: "terminated",
  discarded: "terminated",
  process_ended: "failed",
  unreachable: "failed",
} as const satisfies Record<EndCause, VmStatus>;
