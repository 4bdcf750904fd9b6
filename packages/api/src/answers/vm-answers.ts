import { formatTime } from "@instavm/contract";
import type { DeleteVmResponse, Vm } from "@instavm/contract";
import type { VmView } from "@instavm/core";

/** A VM's record. */
export function vmAnswer(view: VmView): Vm {
  const { vm, session } = view;
  return {
    id: vm.vmId,
    vm_id: vm.vmId,
    session_id: vm.sessionId,
    name: session.name ?? null,
    status: statusOf(view),
    created_at: formatTime(vm.createdAtMs),
    expires_at: formatTime(session.expiresAtMs),
    ended_at: vm.endedAtMs === undefined ? null : formatTime(vm.endedAtMs),
    end_reason: vm.endReason ?? null,
    memory_mb: vm.shape.memoryMib,
    vcpu_count: vm.shape.vcpuCount,
    vm_lifetime_seconds: session.lifetimeS,
    metadata: { ...session.metadata },
    start: vm.start,
    forked_from: vm.forkedFrom ?? null,
    ...ofLaterReleases,
  };
}

/** Answer to a DELETE. */
export function deletedAnswer(view: VmView): DeleteVmResponse {
  const { vmId, sessionId } = view.vm;
  const status = statusOf(view);
  return { message: `VM ${vmId} is ${status}.`, id: vmId, vm_id: vmId, session_id: sessionId, status };
}

/** What no VM of this release has. */
const ofLaterReleases = {
  ssh_host: null,
  snapshot_id: null,
  snapshot_name: null,
  snapshot_on_terminate: false,
  auto_suspend: false,
  auto_resume: false,
  image_variant: "standard" as const,
  vault_ids: [],
};

/** A record may still say `active` for a VM whose process has just ended. */
function statusOf({ vm, isAlive }: VmView): Vm["status"] {
  return vm.status === "active" && !isAlive ? "failed" : vm.status;
}
