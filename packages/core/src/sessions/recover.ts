import type { SessionId, Shape, VmId } from "@instavm/contract";
import type { Host } from "../host/host.ts";
import type { Records, SessionRecord, VmRecord } from "../ports/records.ts";
import type { Log } from "../ports/surroundings.ts";
import type { Lifetimes } from "./lifetimes.ts";
import type { VmLedger } from "./vm-ledger.ts";

/** What the recovery works with. */
export interface RecoverParts {
  readonly host: Host;
  readonly records: Pick<Records, "sessions" | "vms">;
  readonly ledger: VmLedger;
  readonly lifetimes: Lifetimes;
  readonly log: Log;
}

/** Brings records and reality together when the server starts: a VM lives on when its session lives and names it. */
export async function recover(parts: RecoverParts): Promise<void> {
  const { host, records, ledger, lifetimes, log } = parts;
  const [sessions, vms] = await Promise.all([records.sessions.listLive(), records.vms.listLive()]);
  const wanted = wantedVms(sessions, vms);
  const { adopted, lost, removed } = await host.adopt(wanted);
  for (const sandbox of adopted) ledger.follow(sandbox);
  for (const [vmId, reason] of lost) await ledger.recordEnd(vmId, { cause: "process_ended", reason });
  for (const { vmId } of vms) {
    if (!wanted.has(vmId)) await ledger.recordEnd(vmId, { cause: "discarded", reason: "its session had another VM" });
  }
  // Those whose lifetime ended while the server was down are ended at once.
  for (const { sessionId, expiresAtMs } of sessions) lifetimes.schedule(sessionId, expiresAtMs);
  log.info("host.recovered", { sessions: sessions.length, adopted: adopted.length, lost: lost.size, removed });
}

function wantedVms(sessions: readonly SessionRecord[], vms: readonly VmRecord[]): ReadonlyMap<VmId, Shape> {
  const currentVm = new Map<SessionId, VmId | undefined>(sessions.map(({ sessionId, vmId }) => [sessionId, vmId]));
  const wanted = vms.filter(({ vmId, sessionId }) => currentVm.get(sessionId) === vmId);
  return new Map(wanted.map(({ vmId, shape }) => [vmId, shape]));
}
