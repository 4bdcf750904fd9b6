import type { CreateContextRequest, GuestContext } from "../ports/agent-contexts.ts";
import type { Waiting } from "../ports/waiting.ts";
import type { VmReference } from "../sessions/own-vms.ts";
import type { Caller } from "../sessions/sessions.ts";

/** A context of a VM. */
export interface ContextPlace {
  readonly vm: VmReference;
  readonly contextId: string;
}

/**
 * Contexts of VMs. Every call rejects with an InstaVmError, or with the reason of an aborted signal; a context that there
 * is not is `context_not_found`.
 */
export interface Contexts {
  /** Throws `limit_exceeded` when the VM has 32 already. */
  create(
    caller: Caller,
    request: CreateContextRequest & { readonly vm: VmReference },
    waiting?: Waiting,
  ): Promise<GuestContext>;
  list(caller: Caller, vm: VmReference, waiting?: Waiting): Promise<readonly GuestContext[]>;
  get(caller: Caller, place: ContextPlace, waiting?: Waiting): Promise<GuestContext>;
  /** Ends its interpreter and the cell that runs in it; the next cell gets a new one. */
  restart(caller: Caller, place: ContextPlace, waiting?: Waiting): Promise<GuestContext>;
  /** Resolves when the cell that runs was asked to end, not when it has. */
  interrupt(caller: Caller, place: ContextPlace, waiting?: Waiting): Promise<GuestContext>;
  /** Ends it, its interpreter and the cell that runs in it. */
  delete(caller: Caller, place: ContextPlace, waiting?: Waiting): Promise<void>;
}
