import { keyIdSchema, memoryMibSchema, sessionIdSchema, vcpuCountSchema, vmIdSchema } from "@instavm/contract";
import {
  type KeyRecord,
  type SessionRecord,
  type SessionWithVm,
  type VmRecord,
  vmStatuses,
  type VmWithSession,
} from "@instavm/core";
import type { Insertable, Selectable } from "kysely";
import { z } from "zod";
import type { KeyRow, SessionRow, VmRow } from "./tables.ts";

const timeMs = z.int().nonnegative();
const endMs = timeMs.nullable().transform((value) => value ?? undefined);
const text = z.string();
const startKinds = ["pool", "fork", "clone", "boot"] as const satisfies readonly VmRecord["start"][];

const json = <T extends z.ZodType>(content: T) =>
  text
    .transform((value, context): unknown => {
      try {
        return JSON.parse(value);
      } catch {
        context.addIssue({ code: "custom", message: "is no JSON" });
        return z.NEVER;
      }
    })
    .pipe(content);

const sessionRow = z.object({
  session_id: sessionIdSchema,
  key_id: keyIdSchema,
  name: text.nullable(),
  vcpu_count: vcpuCountSchema,
  memory_mib: memoryMibSchema,
  env_json: json(z.record(text, text)),
  metadata_json: json(z.record(text, z.unknown())),
  lifetime_s: z.number().nonnegative(),
  created_at_ms: timeMs,
  expires_at_ms: timeMs,
  vm_id: vmIdSchema.nullable(),
  ended_at_ms: endMs,
  end_reason: z.enum(["killed", "expired"]).nullable(),
});

const vmRow = z.object({
  vm_id: vmIdSchema,
  session_id: sessionIdSchema,
  status: z.enum(vmStatuses),
  start_kind: z.enum(startKinds),
  forked_from: vmIdSchema.nullable(),
  vcpu_count: vcpuCountSchema,
  memory_mib: memoryMibSchema,
  created_at_ms: timeMs,
  ended_at_ms: endMs,
  end_reason: text.nullable(),
});

const keyRow = z.object({
  key_id: keyIdSchema,
  role: z.enum(["admin", "user"]),
  label: text,
  hash: text,
  created_at_ms: timeMs,
  revoked_at_ms: endMs,
  last_used_at_ms: endMs,
});

/** What a VM's row holds of its session, when both are read at once. */
const sessionOfVm = sessionRow.pick({ metadata_json: true, name: true, lifetime_s: true, expires_at_ms: true });

/** A session's columns and those of its VM, which may be missing. */
export interface SessionAndVmRow extends SelectedSession {
  readonly vm_status: string | null;
  readonly vm_start_kind: string | null;
  readonly vm_forked_from: string | null;
  readonly vm_created_at_ms: number | null;
  readonly vm_ended_at_ms: number | null;
  readonly vm_end_reason: string | null;
}

/** A VM's columns and some of its session's. */
export interface VmAndSessionRow
  extends SelectedVm, Pick<SelectedSession, "metadata_json" | "name" | "lifetime_s" | "expires_at_ms"> {}

type SelectedSession = Selectable<SessionRow>;
type SelectedVm = Selectable<VmRow>;

/** Throws a `ZodError` on a row that no release writes. */
export function readSession(row: SelectedSession): SessionRecord {
  const seen = sessionRow.parse(row);
  return {
    sessionId: seen.session_id,
    keyId: seen.key_id,
    name: seen.name ?? undefined,
    shape: { vcpuCount: seen.vcpu_count, memoryMib: seen.memory_mib },
    env: seen.env_json,
    metadata: seen.metadata_json,
    lifetimeS: seen.lifetime_s,
    createdAtMs: seen.created_at_ms,
    expiresAtMs: seen.expires_at_ms,
    vmId: seen.vm_id ?? undefined,
    endedAtMs: seen.ended_at_ms,
    endReason: seen.end_reason ?? undefined,
  };
}

/** Throws a `ZodError` on a row that no release writes. */
export function readVm(row: SelectedVm): VmRecord {
  return vmRecordOf(vmRow.parse(row));
}

function vmRecordOf(seen: z.output<typeof vmRow>): VmRecord {
  return {
    vmId: seen.vm_id,
    sessionId: seen.session_id,
    status: seen.status,
    start: seen.start_kind,
    forkedFrom: seen.forked_from ?? undefined,
    shape: { vcpuCount: seen.vcpu_count, memoryMib: seen.memory_mib },
    createdAtMs: seen.created_at_ms,
    endedAtMs: seen.ended_at_ms,
    endReason: seen.end_reason ?? undefined,
  };
}

/** Throws a `ZodError` on a row that no release writes. */
export function readKey(row: Selectable<KeyRow>): KeyRecord {
  const seen = keyRow.parse(row);
  return {
    keyId: seen.key_id,
    role: seen.role,
    label: seen.label,
    hash: seen.hash,
    createdAtMs: seen.created_at_ms,
    revokedAtMs: seen.revoked_at_ms,
    lastUsedAtMs: seen.last_used_at_ms,
  };
}

/** Throws a `ZodError` on a row that no release writes. */
export function readSessionWithVm(row: SessionAndVmRow): SessionWithVm {
  const session = readSession(row);
  if (row.vm_id === null || row.vm_status === null) return { session, vm: undefined };
  const vm = vmRow.parse({
    ...row,
    status: row.vm_status,
    start_kind: row.vm_start_kind,
    forked_from: row.vm_forked_from,
    created_at_ms: row.vm_created_at_ms,
    ended_at_ms: row.vm_ended_at_ms,
    end_reason: row.vm_end_reason,
  });
  return { session, vm: vmRecordOf(vm) };
}

/** Throws a `ZodError` on a row that no release writes. */
export function readVmWithSession(row: VmAndSessionRow): VmWithSession {
  const vm = readVm(row);
  const seen = sessionOfVm.parse(row);
  return {
    vm,
    session: {
      sessionId: vm.sessionId,
      name: seen.name ?? undefined,
      metadata: seen.metadata_json,
      lifetimeS: seen.lifetime_s,
      expiresAtMs: seen.expires_at_ms,
    },
  };
}

/** The row of a session. */
export function sessionRowOf(session: SessionRecord): Insertable<SessionRow> {
  return {
    session_id: session.sessionId,
    key_id: session.keyId,
    name: session.name ?? null,
    vcpu_count: session.shape.vcpuCount,
    memory_mib: session.shape.memoryMib,
    env_json: JSON.stringify(session.env),
    metadata_json: JSON.stringify(session.metadata),
    lifetime_s: session.lifetimeS,
    created_at_ms: session.createdAtMs,
    expires_at_ms: session.expiresAtMs,
    vm_id: session.vmId ?? null,
    ended_at_ms: session.endedAtMs ?? null,
    end_reason: session.endReason ?? null,
  };
}

/** The row of a VM. */
export function vmRowOf(vm: VmRecord): Insertable<VmRow> {
  return {
    vm_id: vm.vmId,
    session_id: vm.sessionId,
    status: vm.status,
    start_kind: vm.start,
    forked_from: vm.forkedFrom ?? null,
    vcpu_count: vm.shape.vcpuCount,
    memory_mib: vm.shape.memoryMib,
    created_at_ms: vm.createdAtMs,
    ended_at_ms: vm.endedAtMs ?? null,
    end_reason: vm.endReason ?? null,
  };
}

/** The row of a key; the database numbers it. */
export function keyRowOf(key: Omit<KeyRecord, "keyId" | "lastUsedAtMs">): Insertable<KeyRow> {
  return {
    role: key.role,
    label: key.label,
    hash: key.hash,
    created_at_ms: key.createdAtMs,
    revoked_at_ms: key.revokedAtMs ?? null,
    last_used_at_ms: null,
  };
}
