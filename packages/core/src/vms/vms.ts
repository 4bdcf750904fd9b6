import type { SessionId, Shape, VmId } from "@instavm/contract";
import type { ListOptions, VmWithSession } from "../ports/records.ts";
import type { Waiting } from "../ports/waiting.ts";
import type { Caller, CreateRequest } from "../sessions/sessions.ts";

/** A VM as its owner sees it. */
export interface VmView extends VmWithSession {
  /** Its process runs and its agent is reachable, as far as this server knows. */
  readonly isAlive: boolean;
}

/** What of a VM can change while it lives; undefined = stays. */
export interface VmChange {
  /** null takes the name away. */
  readonly name?: string | null | undefined;
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
  /** From the session's creation, in seconds. */
  readonly lifetimeS?: number | undefined;
}

/** What a session's VM is wanted to be; a difference to what it is cannot be made good. */
export interface AttachRequest extends VmChange {
  readonly shape: Partial<Shape>;
  readonly env?: Readonly<Record<string, string>> | undefined;
}

/** Copies of a VM that runs. */
export interface ForkVmRequest {
  readonly count: number;
  /** What all copies are called. */
  readonly name?: string | undefined;
  /** Added to what the source's session has. */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** Added to what the source's session has. */
  readonly env: Readonly<Record<string, string>>;
  /** From the fork, in seconds; undefined = as long as the source's. */
  readonly lifetimeS?: number | undefined;
}

/** What clients do with VMs. Every call rejects with an InstaVmError, or with the reason of an aborted signal. */
export interface Vms {
  /** Starts a VM with a session of its own. On failure or abort nothing is left. */
  create(caller: Caller, request: CreateRequest, waiting?: Waiting): Promise<VmView>;
  /**
   * Gives a session a VM; one that has a live VM keeps it. Throws `session_not_found`, and `conflict` when the session's
   * VM is another than what is asked for.
   */
  attach(caller: Caller, sessionId: SessionId, request: AttachRequest & Waiting): Promise<VmView>;
  /** Also shows VMs that have ended. Throws `vm_not_found` for unknown ones and those of others. */
  get(caller: Caller, vmId: VmId): Promise<VmView>;
  /** The caller's VMs, newest first. */
  list(caller: Caller, options: ListOptions): Promise<readonly VmView[]>;
  /** Throws `vm_not_found`, and `conflict` for a VM that has ended and a lifetime that would be over. */
  update(caller: Caller, vmId: VmId, change: VmChange): Promise<VmView>;
  /**
   * Copies a VM while it goes on: each copy has its memory, processes and files, an identity and a session of its own.
   * All or none. Throws `vm_not_found` for one that does not run, `not_forkable` with the reason, and `invalid` when the
   * source's environment or metadata and what is added are too much together.
   */
  fork(caller: Caller, vmId: VmId, request: ForkVmRequest & Waiting): Promise<readonly VmView[]>;
  /** Ends a VM and its session; one that has ended stays as it is. Throws `vm_not_found`. */
  end(caller: Caller, vmId: VmId): Promise<VmView>;
}
