import { InstaVmError, type VmId } from "@instavm/contract";
import { type VmRecords, type VmStatus, vmStatuses, vmTransitions } from "@instavm/core";
import type { Kysely } from "kysely";
import type { Guarded } from "./guarded.ts";
import { readVm } from "./rows.ts";
import type { Tables, VmRow } from "./tables.ts";

/** The port's VMs over tables of any dialect. */
export function vmRecords(db: Kysely<Tables>, guarded: Guarded): VmRecords {
  return {
    find: (vmId) =>
      guarded(async () => {
        const row = await rowOf(db, vmId);
        return row && readVm(row);
      }),

    listLive: () =>
      guarded(async () => {
        const rows = await db.selectFrom("vms").selectAll().where("ended_at_ms", "is", null).execute();
        return rows.map(readVm);
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

function rowOf(db: Kysely<Tables>, vmId: VmId): Promise<VmRow | undefined> {
  return db.selectFrom("vms").selectAll().where("vm_id", "=", vmId).executeTakeFirst();
}

function statusesBefore(status: VmStatus): readonly VmStatus[] {
  return vmStatuses.filter((from) => vmTransitions[from].includes(status));
}
