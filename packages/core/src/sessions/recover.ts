import type { SessionId, Shape, VmId } from "@instavm/contract";
import type { Host } from "../host/host.ts";
import type { Records, SessionRecord, VmRecord } from "../ports/records.ts";
import type { Clock, Log } from "../ports/surroundings.ts";
import type { Lifetimes } from "./lifetimes.ts";
import type { VmLedger } from "./vm-ledger.ts";

/** What the recovery works with. */
export interface RecoverParts {
  readonly host: Host;
  readonly records: Pick<Records, "sessions" | "vms">;
  readonly ledger: VmLedger;
  readonly lifetimes: Lifetimes;
  readonly clock: Clock;
  readonly log: Log;
}

/** Brings records and reality together when the server starts: a VM lives on when its session lives and names it. */
export async function recover(parts: RecoverParts): Promise<void> {
  const { host, records, ledger, lifetimes, clock, log } = parts;
  const [sessions, vms] = await Promise.all([records.sessions.listLive(), records.vms.listLive()]);
  const wanted = wantedVms(sessions, vms);
  const { adopted, lost, removed } = await host.adopt(wanted);
  for (const sandbox of adopted) ledger.follow(sandbox);
  for (const [vmId, reason] of lost) await records.vms.setStatus(vmId, "failed", clock.nowMs(), reason);
  for (const { vmId } of vms) {
    if (wanted.has(vmId)) continue;
    await records.vms.setStatus(vmId, "terminated", clock.nowMs(), "its session did not need it any more");
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
