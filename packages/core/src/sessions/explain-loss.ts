import { InstaVmError, type VmId } from "@instavm/contract";
import type { SessionRecord } from "../ports/records.ts";
import { isLinkFailure } from "../vm/agent-calls.ts";
import { expiredSession, killedSession } from "./session-rules.ts";
import type { LiveVm } from "./session-vms.ts";

/** What was going on when a call on a VM failed. */
export interface FailedCall {
  readonly vm: Pick<LiveVm, "sandbox" | "agent">;
  readonly session: Pick<SessionRecord, "sessionId" | "lifetimeS">;
  /** A clause: `while the code ran`. */
  readonly during: string;
}

/** Waits until it is known whether the VM lives, and says why its call has no result. */
export async function explainLoss(error: unknown, { vm, session, during }: FailedCall): Promise<unknown> {
  const { sandbox, agent } = vm;
  if (isLinkFailure(error)) await sandbox.settled(agent);
  if (sandbox.end === undefined) return isLinkFailure(error) ? linkBroke(sandbox.vmId, during, error) : error;
  const { cause, reason } = await sandbox.ended;
  if (cause === "expired") return expiredSession(session.sessionId, session.lifetimeS);
  if (cause === "killed") return killedSession(session.sessionId);
  if (cause === "unreachable" && isLinkFailure(error) && error.code === "guest_protocol") return error;
  const code = cause === "unreachable" ? "guest_unreachable" : "vm_lost";
  return new InstaVmError(code, `VM ${sandbox.vmId} was lost ${during}: ${reason}`, { cause: error });
}

/** The VM lives and is reachable again; only this call's outcome is lost. */
function linkBroke(vmId: VmId, during: string, cause: InstaVmError): InstaVmError {
  return new InstaVmError("guest_unreachable", `VM ${vmId}: the link to its agent broke ${during}: ${cause.message}`, {
    cause,
    next: "Look at the session's state, then call again: the VM lives and keeps it.",
  });
}
