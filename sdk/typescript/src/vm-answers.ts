import type { UpdateVmRequest, Vm as VmBody } from "@instavm/contract";
import type { StartKind } from "./answers.ts";

/** A VM, which may have ended. Times are UTC texts, `2026-01-02T03:04:05Z`. */
export interface Vm {
  readonly vmId: string;
  /** The session that runs code in it. */
  readonly sessionId: string;
  readonly name: string | undefined;
  /** Up means `active`. */
  readonly status: VmBody["status"];
  readonly createdAt: string;
  readonly expiresAt: string;
  readonly endedAt: string | undefined;
  /** Why it ended, for a person. */
  readonly endReason: string | undefined;
  readonly memoryMib: number;
  readonly vcpuCount: number;
  readonly lifetimeS: number;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly start: StartKind;
  /** The VM that it began as a copy of. */
  readonly forkedFrom: string | undefined;
}

/** What of a VM is changed; what is left out stays. */
export interface VmChanges {
  /** Null takes the name away. */
  readonly name?: string | null;
  /** Replaces all of the metadata. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** Seconds from the VM's creation, 20..604800. */
  readonly lifetimeS?: number;
}

export function toVm(body: VmBody): Vm {
  return {
    vmId: body.vm_id,
    sessionId: body.session_id,
    name: body.name ?? undefined,
    status: body.status,
    createdAt: body.created_at,
    expiresAt: body.expires_at,
    endedAt: body.ended_at ?? undefined,
    endReason: body.end_reason ?? undefined,
    memoryMib: body.memory_mb,
    vcpuCount: body.vcpu_count,
    lifetimeS: body.vm_lifetime_seconds,
    metadata: body.metadata,
    start: body.start,
    forkedFrom: body.forked_from ?? undefined,
  };
}

export function fromVmChanges(changes: VmChanges): Partial<UpdateVmRequest> {
  return { name: changes.name, metadata: changes.metadata, vm_lifetime_seconds: changes.lifetimeS };
}
