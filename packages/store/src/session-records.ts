import { InstaVmError, type SessionId } from "@instavm/contract";
import type { RecordedUsage, SessionChange, SessionRecord, SessionRecords, UsageEntry, VmRecord } from "@instavm/core";
import type { Kysely, Transaction } from "kysely";
import type { Guarded } from "./guarded.ts";
import { readSession, readSessionWithVm, readVm, sessionRowOf, vmRowOf } from "./rows.ts";
import { readRows } from "./read-rows.ts";
import type { Tables } from "./tables.ts";

/** The port's sessions over tables of any dialect. */
export function sessionRecords(db: Kysely<Tables>, guarded: Guarded): SessionRecords {
  return {
    insert: (session, vm) =>
      guarded(async () => {
        if (vm === undefined) await db.insertInto("sessions").values(sessionRowOf(session)).execute();
        else await db.transaction().execute((transaction) => insertBoth(transaction, session, vm));
      }),

    insertAll: (entries) =>
      guarded(() =>
        db.transaction().execute(async (transaction) => {
          for (const { session, vm } of entries) await insertBoth(transaction, session, vm);
        }),
      ),

    find: (sessionId, keyId) =>
      guarded(async () => {
        const any = db.selectFrom("sessions").selectAll().where("session_id", "=", sessionId);
        const row = await (keyId === undefined ? any : any.where("key_id", "=", keyId)).executeTakeFirst();
        return row && readSession(row);
      }),

    findOwn: (sessionId, keyId) =>
      guarded(async () => {
        const row = await withVm(db)
          .where("sessions.session_id", "=", sessionId)
          .where("sessions.key_id", "=", keyId)
          .executeTakeFirst();
        return row && readSessionWithVm(row);
      }),

    listByKey: (keyId, { limit, liveOnly = false }) =>
      guarded(async () => {
        const own = withVm(db).where("sessions.key_id", "=", keyId);
        const rows = await (liveOnly ? own.where("sessions.ended_at_ms", "is", null) : own)
          .orderBy("sessions.created_at_ms", "desc")
          .orderBy("sessions.session_id")
          .limit(limit)
          .execute();
        return readRows(rows, readSessionWithVm);
      }),

    listLive: () =>
      guarded(async () => {
        const rows = await db.selectFrom("sessions").selectAll().where("ended_at_ms", "is", null).execute();
        return readRows(rows, readSession);
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

    change: (sessionId, change) => guarded(() => changeSession(db, sessionId, change)),

    addUsage: (entries) =>
      guarded(() =>
        db.transaction().execute(async (transaction) => {
          for (const entry of entries) await addUsage(transaction, entry);
        }),
      ),

    usage: (sessionId) => guarded(() => usageOf(db, sessionId)),
  };
}

/** Sessions, each with the VM that it points to. */
function withVm(db: Kysely<Tables>) {
  return db
    .selectFrom("sessions")
    .leftJoin("vms", "vms.vm_id", "sessions.vm_id")
    .selectAll("sessions")
    .select([
      "vms.status as vm_status",
      "vms.start_kind as vm_start_kind",
      "vms.forked_from as vm_forked_from",
      "vms.created_at_ms as vm_created_at_ms",
      "vms.ended_at_ms as vm_ended_at_ms",
      "vms.end_reason as vm_end_reason",
    ]);
}

async function changeSession(db: Kysely<Tables>, sessionId: SessionId, change: SessionChange): Promise<void> {
  const { name, metadata, lifetime } = change;
  const { numUpdatedRows } = await db
    .updateTable("sessions")
    .set({
      // Something must be set; the id stays what it is.
      session_id: sessionId,
      ...(name === undefined ? {} : { name }),
      ...(metadata === undefined ? {} : { metadata_json: JSON.stringify(metadata) }),
      ...(lifetime === undefined ? {} : { lifetime_s: lifetime.lifetimeS, expires_at_ms: lifetime.expiresAtMs }),
    })
    .where("session_id", "=", sessionId)
    .where("ended_at_ms", "is", null)
    .executeTakeFirst();
  if (numUpdatedRows > 0n) return;
  throw new InstaVmError("session_not_found", `Session ${sessionId} does not exist or has ended.`);
}

async function addUsage(transaction: Transaction<Tables>, { sessionId, executions, cpu }: UsageEntry): Promise<void> {
  await transaction
    .updateTable("sessions")
    .set((column) => ({ executions: column("executions", "+", executions) }))
    .where("session_id", "=", sessionId)
    .execute();
  if (cpu === undefined) return;
  await transaction
    .updateTable("vms")
    .set({ cpu_ms: cpu.totalMs })
    .where("vm_id", "=", cpu.vmId)
    .where("session_id", "=", sessionId)
    .where("cpu_ms", "<", cpu.totalMs)
    .execute();
}

async function usageOf(db: Kysely<Tables>, sessionId: SessionId): Promise<RecordedUsage> {
  const session = await db
    .selectFrom("sessions")
    .select("executions")
    .where("session_id", "=", sessionId)
    .executeTakeFirst();
  const vms = await db.selectFrom("vms").selectAll().where("session_id", "=", sessionId).execute();
  return {
    executions: session?.executions ?? 0,
    vms: vms.map((row) => ({ ...readVm(row), cpuMs: row.cpu_ms })),
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
