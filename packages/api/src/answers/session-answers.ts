import { formatTime } from "@instavm/contract";
import type {
  CreateSessionResponse,
  KillResponse,
  Sandbox,
  SessionResponse,
  SessionStatus,
  SessionStatusResponse,
  SessionUsage as UsageAnswer,
} from "@instavm/contract";
import type { SessionUsage, SessionView } from "@instavm/core";

/** Answer to a create. */
export function createdAnswer(view: SessionView): CreateSessionResponse {
  return { ...sessionFields(view), start: view.vm?.start ?? null, ready_ms: view.readyMs ?? null };
}

/** Answer to a read. */
export function sessionAnswer(view: SessionView): SessionResponse {
  const { session } = view;
  return {
    ...sessionFields(view),
    vm_alive: view.vmAlive,
    memory_mb: session.shape.memoryMib,
    vcpu_count: session.shape.vcpuCount,
    vm_lifetime_seconds: session.lifetimeS,
    metadata: { ...session.metadata },
  };
}

/** Answer to a status question. */
export function statusAnswer(view: SessionView, nowMs: number): SessionStatusResponse {
  const { session, vm, vmAlive } = view;
  const isLive = session.endedAtMs === undefined;
  return {
    exists: true,
    session_id: session.sessionId,
    vm_assigned: session.vmId !== undefined,
    vm_alive: vmAlive,
    vm_id: session.vmId ?? null,
    vm_status: vmStatus(view),
    uptime_seconds: vmAlive && vm !== undefined ? wholeSeconds(nowMs - vm.createdAtMs) : 0,
    expires_in_seconds: isLive ? wholeSeconds(session.expiresAtMs - nowMs) : 0,
    created_at: formatTime(session.createdAtMs),
  };
}

/** Answer to a status question about a session that there never was. */
export function absentAnswer(sessionId: SessionView["session"]["sessionId"]): SessionStatusResponse {
  return {
    exists: false,
    session_id: sessionId,
    vm_assigned: false,
    vm_alive: false,
    vm_id: null,
    vm_status: null,
    uptime_seconds: 0,
    expires_in_seconds: 0,
    created_at: null,
  };
}

/** One line of a list. */
export function sandboxAnswer(view: SessionView): Sandbox {
  const { session, vm, vmAlive } = view;
  return {
    sandbox_id: session.vmId ?? null,
    vm_id: session.vmId ?? null,
    session_id: session.sessionId,
    name: session.name ?? null,
    metadata: { ...session.metadata },
    status: vmAlive ? "active" : notRunning(vm?.status),
    started_at: formatTime(vm?.createdAtMs ?? session.createdAtMs),
    end_at: formatTime(session.expiresAtMs),
  };
}

const msPerSecond = 1000;
const mibPerGib = 1024;

/** What a session has used. */
export function usageAnswer(sessionId: SessionView["session"]["sessionId"], usage: SessionUsage): UsageAnswer {
  return {
    session_id: sessionId,
    cpu_seconds: usage.cpuMs / msPerSecond,
    wall_seconds: usage.wallMs / msPerSecond,
    memory_gib_seconds: usage.memoryMibMs / mibPerGib / msPerSecond,
    egress_bytes: 0,
    executions: usage.executions,
  };
}

/** Answer to a kill. */
export function killedAnswer(view: SessionView): KillResponse {
  const { sessionId, vmId } = view.session;
  const what = vmId === undefined ? "had no VM" : `and VM ${vmId} are gone`;
  return { message: `Session ${sessionId} ${what}.`, session_id: sessionId, vm_id: vmId ?? null, status: "killed" };
}

function sessionFields(view: SessionView): Omit<CreateSessionResponse, "start" | "ready_ms"> {
  const { session } = view;
  return {
    id: session.sessionId,
    session_id: session.sessionId,
    vm_id: session.vmId ?? null,
    status: sessionStatus(view),
    created_at: formatTime(session.createdAtMs),
    expires_at: formatTime(session.expiresAtMs),
  };
}

function sessionStatus({ session, vm }: SessionView): SessionStatus {
  if (session.endedAtMs !== undefined) return session.endReason ?? "killed";
  return vm?.status === "suspended" ? "suspended" : "active";
}

function vmStatus({ session, vm, vmAlive }: SessionView): SessionStatusResponse["vm_status"] {
  if (session.vmId === undefined) return null;
  if (vm?.status === "suspended") return "suspended";
  return vmAlive ? "active" : "killed";
}

/** A record may still say `active` for a VM whose process has just ended. */
function notRunning(status: Sandbox["status"] | undefined): Sandbox["status"] {
  if (status === undefined) return "creating";
  return status === "active" ? "terminated" : status;
}

function wholeSeconds(ms: number): number {
  return Math.max(0, Math.floor(ms / 1000));
}
