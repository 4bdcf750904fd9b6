import { vmIdSchema } from "@instavm/contract";
import type { VmId } from "@instavm/contract";
import type { EndReason, Waiting } from "@instavm/core";
import type { Ended } from "@instavm/protocol/launcher";
import { unexpectedAnswer } from "./launcher-connection.ts";
import type { LauncherConnection } from "./launcher-connection.ts";

/** A process as the launcher knows it. */
export interface LaunchedProcess {
  readonly vmId: VmId;
  readonly pid: number;
  /** undefined while it runs. */
  readonly ended: EndReason | undefined;
}

/** What runs, and what ended and was not forgotten. */
export async function listProcesses(
  connection: LauncherConnection,
  waiting?: Waiting,
): Promise<readonly LaunchedProcess[]> {
  const subject = "launcher: the list of processes";
  const answer = await connection.call({ subject, request: { case: "list", value: {} } }, waiting);
  if (answer.case !== "processes") throw unexpectedAnswer(subject, answer);
  return answer.value.processes.map(({ vmId, pid, ended }) => ({
    vmId: vmIdSchema.parse(vmId),
    pid,
    ended: ended === undefined ? undefined : endReasonOf(ended),
  }));
}

export function endReasonOf({ how }: Ended): EndReason {
  if (how.case === "exitCode") return { kind: "exited", exitCode: how.value };
  if (how.case === "signal") return { kind: "signalled", signal: how.value };
  return { kind: "unknown" };
}
