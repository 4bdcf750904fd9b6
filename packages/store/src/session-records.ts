import { InstaVmError, type SessionId } from "@instavm/contract";
import type { SessionRecord, SessionRecords, VmRecord } from "@instavm/core";
import type { Kysely, Transaction } from "kysely";
import type { Guarded } from "./guarded.ts";
import { readSession, sessionRowOf, vmRowOf } from "./rows.ts";
import type { Tables } from "./tables.ts";

/** The port's sessions over tables of any dialect. */
export function sessionRecords(db: Kysely<Tables>, guarded: Guarded): SessionRecords {
  return {
    insert: (session, vm) =>
      guarded(async () => {
        if (vm === undefined) await db.insertInto("sessions").values(sessionRowOf(session)).execute();
        else await db.transaction().execute((transaction) => insertBoth(transaction, session, vm));
      }),

    find: (sessionId) =>
      guarded(async () => {
        const row = await db.selectFrom("sessions").selectAll().where("session_id", "=", sessionId).executeTakeFirst();
        return row && readSession(row);
      }),

    listByKey: (keyId, limit) =>
      guarded(async () => {
        const rows = await db
          .selectFrom("sessions")
          .selectAll()
          .where("key_id", "=", keyId)
          .orderBy("created_at_ms", "desc")
          .orderBy("session_id")
          .limit(limit)
          .execute();
        return rows.map(readSession);
      }),

    listLive: () =>
      guarded(async () => {
        const rows = await db.selectFrom("sessions").selectAll().where("ended_at_ms", "is", null).execute();
        return rows.map(readSession);
      }),

    assign: (sessionId, vm) =>
      guarded(() => db.transaction().execute((transaction) => assignVm(transaction, sessionId, vm))),

    end: (sessionId, reason, atMs) =>
      guarded(async () => {
        const { numUpdatedRows } = await db
          .updateTable("sessions")
          .set({ ended_at_ms: atMs, end_reason: reason })
          .where("session_id", "=", sessionId)
          .where("ended_at_ms", "is", null)
          .executeTakeFirst();
        if (numUpdatedRows === 0n) await requireSession(db, sessionId);
      }),
  };
}

async function insertBoth(transaction: Transaction<Tables>, session: SessionRecord, vm: VmRecord): Promise<void> {
  requireVmOf(session.sessionId, vm);
  await transaction.insertInto("sessions").values(sessionRowOf(session)).execute();
  await transaction.insertInto("vms").values(vmRowOf(vm)).execute();
}

async function assignVm(transaction: Transaction<Tables>, sessionId: SessionId, vm: VmRecord): Promise<void> {
  requireVmOf(sessionId, vm);
  const { numUpdatedRows } = await transaction
    .updateTable("sessions")
    .set({ vm_id: vm.vmId })
    .where("session_id", "=", sessionId)
    .where("ended_at_ms", "is", null)
    .executeTakeFirst();
  if (numUpdatedRows === 0n) {
    await requireSession(transaction, sessionId);
    throw new InstaVmError("conflict", `Session ${sessionId} has ended and gets no VM.`);
  }
  // A session has one live VM: one whose end could not be written down is ended here.
  await transaction
    .updateTable("vms")
    .set({ status: "failed", ended_at_ms: vm.createdAtMs, end_reason: `replaced by VM ${vm.vmId}` })
    .where("session_id", "=", sessionId)
    .where("ended_at_ms", "is", null)
    .execute();
  await transaction.insertInto("vms").values(vmRowOf(vm)).execute();
}

function requireVmOf(sessionId: SessionId, vm: VmRecord): void {
  if (vm.sessionId === sessionId) return;
  throw new InstaVmError("conflict", `VM ${vm.vmId} belongs to session ${vm.sessionId}, not to ${sessionId}.`);
}

async function requireSession(db: Kysely<Tables>, sessionId: SessionId): Promise<void> {
  const row = await db
    .selectFrom("sessions")
    .select("session_id")
    .where("session_id", "=", sessionId)
    .executeTakeFirst();
  if (row === undefined) throw new InstaVmError("session_not_found", `There is no session ${sessionId}.`);
}
