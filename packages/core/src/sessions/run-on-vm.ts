import { InstaVmError } from "@instavm/contract";
import type { CodeEnded } from "../ports/agent-link.ts";
import type { SessionRecord } from "../ports/records.ts";
import { explainLoss } from "./explain-loss.ts";
import { type Cell, type CellBounds, runCell } from "./run-cell.ts";
import type { LiveVm } from "./session-vms.ts";

/** A cell and the session that it runs for. */
export interface SessionCell extends Cell {
  readonly session: SessionRecord;
  readonly bounds: Omit<CellBounds, "isAlive"> & { readonly pingTimeoutMs: number };
}

/** Runs a cell on a session's VM. A VM that answers nothing any more is ended; the error says what became of it. */
export async function runOn(vm: LiveVm, { session, bounds, ...cell }: SessionCell): Promise<CodeEnded> {
  const isAlive = (): Promise<boolean> => vm.sandbox.probe(bounds.pingTimeoutMs);
  try {
    const outcome = await runCell(vm.agent, cell, { ...bounds, isAlive });
    if (outcome !== "silent") return outcome;
  } catch (error) {
    bounds.signal.throwIfAborted();
    throw await explainLoss(error, { vm, session, during: "while the code ran" });
  }
  const { vmId, end } = vm.sandbox;
  throw new InstaVmError(
    "guest_unreachable",
    `VM ${vmId} did not end the code at its time limit of ${cell.request.limitMs} ms, and was lost: ${end?.reason ?? "it is silent"}`,
  );
}
