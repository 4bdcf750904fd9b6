import { InstaVmError, type VmId } from "@instavm/contract";
import type { SessionRecord } from "../ports/records.ts";
import { isLinkFailure } from "../vm/agent-calls.ts";
import { type CellBounds, type FinishedCell, runCell } from "./run-cell.ts";
import { expiredSession, killedSession } from "./session-rules.ts";
import type { LiveVm } from "./session-vms.ts";
import type { ExecuteRequest } from "./sessions.ts";

/** A cell and the session that it runs for. */
export interface SessionCell {
  readonly session: SessionRecord;
  readonly request: ExecuteRequest;
  readonly bounds: Omit<CellBounds, "isAlive"> & { readonly pingTimeoutMs: number };
}

/** Runs a cell on a session's VM. A VM that answers nothing any more is ended; the error says what became of it. */
export async function runOn(vm: LiveVm, { session, request, bounds }: SessionCell): Promise<FinishedCell> {
  const isAlive = (): Promise<boolean> => vm.sandbox.probe(bounds.pingTimeoutMs);
  try {
    const outcome = await runCell(vm.agent, request, { ...bounds, isAlive });
    if (outcome !== "silent") return outcome;
  } catch (error) {
    bounds.signal.throwIfAborted();
    throw await explain(error, vm, session);
  }
  const { vmId, end } = vm.sandbox;
  throw new InstaVmError(
    "guest_unreachable",
    `VM ${vmId} did not end the code at its time limit of ${request.limitMs} ms, and was lost: ${end?.reason ?? "it is silent"}`,
  );
}

/** Waits until it is known whether the VM lives, and says why the code has no result. */
async function explain(error: unknown, { sandbox, agent }: LiveVm, session: SessionRecord): Promise<unknown> {
  if (isLinkFailure(error)) await sandbox.settled(agent);
  if (sandbox.end === undefined) return isLinkFailure(error) ? linkBroke(sandbox.vmId, error) : error;
  const { cause, reason } = await sandbox.ended;
  if (cause === "expired") return expiredSession(session.sessionId, session.lifetimeS);
  if (cause === "killed") return killedSession(session.sessionId);
  if (cause === "unreachable" && isLinkFailure(error) && error.code === "guest_protocol") return error;
  const code = cause === "unreachable" ? "guest_unreachable" : "vm_lost";
  return new InstaVmError(code, `VM ${sandbox.vmId} was lost while the code ran: ${reason}`, { cause: error });
}

/** The VM lives and is reachable again; only this call's outcome is lost. */
function linkBroke(vmId: VmId, cause: InstaVmError): InstaVmError {
  return new InstaVmError(
    "guest_unreachable",
    `VM ${vmId}: the link to its agent broke while the code ran: ${cause.message}`,
    { cause, next: "Look at the session's state, then call again: the VM lives and keeps it." },
  );
}
