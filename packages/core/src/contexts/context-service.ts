import { InstaVmError } from "@instavm/contract";
import type { CreateContextRequest, GuestContext } from "../ports/agent-contexts.ts";
import type { Waiting } from "../ports/waiting.ts";
import type { VmReference } from "../sessions/own-vms.ts";
import type { Caller } from "../sessions/sessions.ts";
import { VmCalls, type VmCallsParts } from "../sessions/vm-calls.ts";
import type { ContextPlace, Contexts } from "./contexts.ts";

/** Hands the clients' calls to the agent of the right VM, which keeps the contexts. */
export class ContextService implements Contexts {
  readonly #calls: VmCalls;

  constructor(parts: VmCallsParts) {
    this.#calls = new VmCalls(parts, "while it was asked for a context");
  }

  async create(
    caller: Caller,
    { vm, ...request }: CreateContextRequest & { readonly vm: VmReference },
    waiting: Waiting = {},
  ): Promise<GuestContext> {
    return this.#calls.call({ caller, vm, waiting }, ({ agent, signal }) => agent.contexts.create(request, { signal }));
  }

  async list(caller: Caller, vm: VmReference, waiting: Waiting = {}): Promise<readonly GuestContext[]> {
    return this.#calls.call({ caller, vm, waiting }, ({ agent, signal }) => agent.contexts.list({ signal }));
  }

  async get(caller: Caller, { vm, contextId }: ContextPlace, waiting: Waiting = {}): Promise<GuestContext> {
    const contexts = await this.list(caller, vm, waiting);
    const found = contexts.find((context) => context.contextId === contextId);
    if (found === undefined) throw new InstaVmError("context_not_found", `Context ${contextId} does not exist.`);
    return found;
  }

  async restart(caller: Caller, { vm, contextId }: ContextPlace, waiting: Waiting = {}): Promise<GuestContext> {
    return this.#calls.call({ caller, vm, waiting }, ({ agent, signal }) =>
      agent.contexts.restart(contextId, { signal }),
    );
  }

  async interrupt(caller: Caller, { vm, contextId }: ContextPlace, waiting: Waiting = {}): Promise<GuestContext> {
    return this.#calls.call({ caller, vm, waiting }, ({ agent, signal }) =>
      agent.contexts.interrupt(contextId, { signal }),
    );
  }

  async delete(caller: Caller, { vm, contextId }: ContextPlace, waiting: Waiting = {}): Promise<void> {
    return this.#calls.call({ caller, vm, waiting }, ({ agent, signal }) =>
      agent.contexts.delete(contextId, { signal }),
    );
  }
}
