import { type ErrorCode, InstaVmError } from "@instavm/contract";
import type { ExecutionRecord } from "../ports/execution-records.ts";

/** Why an execution is lost whose server is gone. */
export const lostWithServer = "the server stopped while the code ran";

/** The VM is gone, or what it says: nobody knows how far the code came. */
const lossCodes: ReadonlySet<ErrorCode> = new Set(["vm_lost", "guest_unreachable", "guest_protocol"]);

/** What is recorded of code that has no end of its own. */
export function howItEnded(error: unknown, serverStops: boolean): Pick<ExecutionRecord, "status" | "reason"> {
  if (serverStops) return { status: "lost", reason: lostWithServer };
  const reason = error instanceof Error ? error.message : String(error);
  const isLost = error instanceof InstaVmError && lossCodes.has(error.code);
  return { status: isLost ? "lost" : "failed", reason };
}
