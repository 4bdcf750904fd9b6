import type {
  CreateSessionResponse,
  Displayed as DisplayedBody,
  ExecuteExit,
  ExecuteResponse,
  HealthResponse,
  KillResponse,
  Sandbox as SandboxBody,
  SessionResponse,
  SessionStatus,
  SessionStatusResponse,
  SessionUsage as SessionUsageBody,
} from "@instavm/contract";

/** How a VM came to run. */
export type StartKind = "pool" | "fork" | "clone" | "boot";

/** A session as every answer shows it. Times are UTC texts, `2026-01-02T03:04:05Z`. */
export interface Session {
  readonly sessionId: string;
  readonly vmId: string | undefined;
  readonly status: SessionStatus;
  readonly createdAt: string;
  readonly expiresAt: string;
}

export interface CreatedSession extends Session {
  readonly start: StartKind | undefined;
  /** How long the VM took to be ready, as the server measured it, in ms. */
  readonly readyMs: number | undefined;
}

export interface SessionDetails extends Session {
  readonly vmAlive: boolean;
  readonly memoryMib: number;
  readonly vcpuCount: number;
  readonly lifetimeS: number;
  readonly metadata: Readonly<Record<string, unknown>>;
}

export interface SessionStatusReport {
  readonly exists: boolean;
  /** False for a session that does not exist, or whose VM is lost with its state. */
  readonly usable: boolean;
  readonly vmId: string | undefined;
  readonly vmAlive: boolean;
  readonly vmStatus: "active" | "suspended" | "killed" | undefined;
  readonly uptimeS: number;
  readonly expiresInS: number;
}

/** One live session in a list. */
export interface SandboxSummary {
  readonly sessionId: string;
  readonly vmId: string | undefined;
  readonly status: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly startedAt: string;
  readonly endsAt: string;
}

export interface KilledSession {
  readonly sessionId: string;
  readonly vmId: string | undefined;
  readonly message: string;
}

/** One form of one thing that code displayed: a figure, a table, the value of the last expression. */
export interface Displayed {
  /** A MIME type: `text/plain`, `text/html`, `image/png`. */
  readonly type: string;
  /** Text as it is; images but SVG, audio and video as base64. */
  readonly data: string;
  /** Counts the things from 0; the same for all forms of one. */
  readonly display: number;
  /** It is the value of the last expression. */
  readonly isResult: boolean;
}

/** What code raised. */
export interface CodeError {
  readonly name: string;
  readonly value: string;
  readonly traceback: string;
}

/** How code ended. */
export interface ExecuteEnd {
  readonly sessionId: string;
  readonly vmId: string;
  readonly language: "python" | "javascript" | "bash";
  readonly exitCode: number;
  /** `exitCode` is 0. */
  readonly success: boolean;
  readonly timedOut: boolean;
  /** Some output beyond 64 MiB was dropped. */
  readonly truncated: boolean;
  /** The interpreter ended with its state; the next call gets a new one. */
  readonly contextLost: boolean;
  readonly outOfMemory: boolean;
  readonly executionTimeS: number;
  readonly cpuTimeS: number;
  /** Set when this call had to start a VM. */
  readonly vmStart: StartKind | undefined;
  readonly vmReadyMs: number | undefined;
  /** What Python or JavaScript raised. */
  readonly error: CodeError | undefined;
}

/** How one execute ended, and all that came of it. */
export interface ExecuteResult extends ExecuteEnd {
  /** What the program printed, then the value of the last expression. */
  readonly stdout: string;
  readonly stderr: string;
  /** What the code displayed, and the value of its last expression. */
  readonly results: readonly Displayed[];
}

/** What a session has used so far, over all VMs that it had. */
export interface SessionUsage {
  /** CPU time of the VMs' processes on the host, emulation included. */
  readonly cpuS: number;
  readonly wallS: number;
  readonly memoryGibS: number;
  readonly egressBytes: number;
  /** Calls that ran code. */
  readonly executions: number;
}

export interface Health {
  readonly version: string;
  readonly engine: string;
  readonly engineVersion: string;
  readonly accelerator: "kvm" | "tcg" | "none";
  /** Why this accelerator and no faster one. */
  readonly acceleratorReason: string;
}

export function toSession(body: CreateSessionResponse): CreatedSession {
  return { ...session(body), start: body.start ?? undefined, readyMs: body.ready_ms ?? undefined };
}

export function toSessionDetails(body: SessionResponse): SessionDetails {
  return {
    ...session(body),
    vmAlive: body.vm_alive,
    memoryMib: body.memory_mb,
    vcpuCount: body.vcpu_count,
    lifetimeS: body.vm_lifetime_seconds,
    metadata: body.metadata,
  };
}

function session(body: CreateSessionResponse | SessionResponse): Session {
  return {
    sessionId: body.session_id,
    vmId: body.vm_id ?? undefined,
    status: body.status,
    createdAt: body.created_at,
    expiresAt: body.expires_at,
  };
}

export function toStatus(body: SessionStatusResponse): SessionStatusReport {
  return {
    exists: body.exists,
    usable: body.exists && (!body.vm_assigned || body.vm_alive),
    vmId: body.vm_id ?? undefined,
    vmAlive: body.vm_alive,
    vmStatus: body.vm_status ?? undefined,
    uptimeS: body.uptime_seconds,
    expiresInS: body.expires_in_seconds,
  };
}

export function toSandboxSummary(body: SandboxBody): SandboxSummary {
  return {
    sessionId: body.session_id,
    vmId: body.vm_id ?? undefined,
    status: body.status,
    metadata: body.metadata,
    startedAt: body.started_at,
    endsAt: body.end_at,
  };
}

export function toKilled(body: KillResponse): KilledSession {
  return { sessionId: body.session_id, vmId: body.vm_id ?? undefined, message: body.message };
}

export function toExecuteResult(body: ExecuteResponse): ExecuteResult {
  return {
    ...toExecuteEnd(body),
    stdout: body.stdout,
    stderr: body.stderr,
    results: body.results.map(toDisplayed),
  };
}

export function toExecuteEnd(body: ExecuteExit): ExecuteEnd {
  return {
    sessionId: body.session_id,
    vmId: body.vm_id,
    language: body.language,
    exitCode: body.exit_code,
    success: body.success,
    timedOut: body.timed_out,
    truncated: body.truncated,
    contextLost: body.context_lost,
    outOfMemory: body.out_of_memory,
    executionTimeS: body.execution_time,
    cpuTimeS: body.cpu_time,
    vmStart: body.vm_start ?? undefined,
    vmReadyMs: body.vm_ready_ms ?? undefined,
    error: body.error ?? undefined,
  };
}

export function toDisplayed(body: DisplayedBody): Displayed {
  return { type: body.type, data: body.data, display: body.display, isResult: body.is_result };
}

export function toUsage(body: SessionUsageBody): SessionUsage {
  return {
    cpuS: body.cpu_seconds,
    wallS: body.wall_seconds,
    memoryGibS: body.memory_gib_seconds,
    egressBytes: body.egress_bytes,
    executions: body.executions,
  };
}

export function toHealth(body: HealthResponse): Health {
  return {
    version: body.version,
    engine: body.engine,
    engineVersion: body.engine_version,
    accelerator: body.accelerator,
    acceleratorReason: body.accelerator_reason,
  };
}
