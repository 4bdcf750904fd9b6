import { InstaVmError, type KeyId, type VmId } from "@instavm/contract";
import { type VmRecords, type VmStatus, vmStatuses, vmTransitions } from "@instavm/core";
import type { Kysely, Selectable } from "kysely";
import type { Guarded } from "./guarded.ts";
import { readVm, readVmWithSession } from "./rows.ts";
import { readRows } from "./read-rows.ts";
import type { Tables, VmRow } from "./tables.ts";

/** The port's VMs over tables of any dialect. */
export function vmRecords(db: Kysely<Tables>, guarded: Guarded): VmRecords {
  return {
    find: (vmId) =>
      guarded(async () => {
        const row = await rowOf(db, vmId);
        return row && readVm(row);
      }),

    findOwn: (vmId, keyId) =>
      guarded(async () => {
        const row = await withSession(db, keyId).where("vms.vm_id", "=", vmId).executeTakeFirst();
        return row && readVmWithSession(row);
      }),

    listByKey: (keyId, { limit, liveOnly = false }) =>
      guarded(async () => {
        const own = withSession(db, keyId);
        const rows = await (liveOnly ? own.where("vms.ended_at_ms", "is", null) : own)
          .orderBy("vms.created_at_ms", "desc")
          .orderBy("vms.vm_id")
          .limit(limit)
          .execute();
        return readRows(rows, readVmWithSession);
      }),

    listLive: () =>
      guarded(async () => {
        const rows = await db.selectFrom("vms").selectAll().where("ended_at_ms", "is", null).execute();
        return readRows(rows, readVm);
      }),

    setStatus: (...[vmId, status, atMs, reason]) =>
      guarded(async () => {
        const isEnd = vmTransitions[status].length === 0;
        const { numUpdatedRows } = await db
          .updateTable("vms")
          .set({ status, ...(isEnd ? { ended_at_ms: atMs, end_reason: reason ?? null } : {}) })
          .where("vm_id", "=", vmId)
          .where("status", "in", statusesBefore(status))
          .executeTakeFirst();
        if (numUpdatedRows > 0n) return;
        const row = await rowOf(db, vmId);
        if (row === undefined) throw new InstaVmError("vm_not_found", `There is no VM ${vmId}.`);
        throw new InstaVmError("conflict", `VM ${vmId} is ${row.status} and cannot become ${status}.`);
      }),
  };
}

/** The VMs of a key's sessions, with what these say of them. */
function withSession(db: Kysely<Tables>, keyId: KeyId) {
  return db
    .selectFrom("vms")
    .innerJoin("sessions", "sessions.session_id", "vms.session_id")
    .where("sessions.key_id", "=", keyId)
    .selectAll("vms")
    .select(["sessions.name", "sessions.metadata_json", "sessions.lifetime_s", "sessions.expires_at_ms"]);
}

function rowOf(db: Kysely<Tables>, vmId: VmId): Promise<Selectable<VmRow> | undefined> {
  return db.selectFrom("vms").selectAll().where("vm_id", "=", vmId).executeTakeFirst();
}

function statusesBefore(status: VmStatus): readonly VmStatus[] {
  return vmStatuses.filter((from) => vmTransitions[from].includes(status));
}
