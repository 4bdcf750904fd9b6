import { InstaVmError, type SessionId, type VmId } from "@instavm/contract";
import type { Host } from "../host/host.ts";
import type { AgentSession } from "../ports/agent-link.ts";
import type { Records, SessionRecord } from "../ports/records.ts";
import type { Waiting } from "../ports/waiting.ts";
import type { Sandbox } from "../vm/sandbox.ts";
import type { Cells } from "./cells.ts";
import type { Caller } from "./sessions.ts";

/** A VM by its own id, or the one of a session: a session whose VM is dead gets a fresh one. */
export type VmReference = { readonly sessionId: SessionId } | { readonly vmId: VmId };

/** What VMs are found with. */
export interface OwnVmsParts {
  readonly cells: Cells;
  readonly host: Host;
  readonly records: Pick<Records, "vms">;
}

/** A caller's live VM, its session and the way to its agent. */
export interface ReachedVm {
  readonly session: Pick<SessionRecord, "sessionId" | "lifetimeS">;
  readonly sandbox: Sandbox;
  readonly agent: AgentSession;
}

/** Finds the VM that a call is about, for its owner only. */
export class OwnVms {
  readonly #parts: OwnVmsParts;

  constructor(parts: OwnVmsParts) {
    this.#parts = parts;
  }

  /** Throws `session_not_found` or `vm_not_found` for what does not exist, is another's, or has ended. */
  async reach(caller: Caller, vm: VmReference, waiting: Waiting): Promise<ReachedVm> {
    if ("vmId" in vm) return this.#byVm(caller, vm.vmId, waiting);
    const session = await this.#parts.cells.usable(caller, vm.sessionId);
    return { session, ...(await this.#parts.cells.live(session, waiting)) };
  }

  async #byVm(caller: Caller, vmId: VmId, { signal }: Waiting): Promise<ReachedVm> {
    const { records, host } = this.#parts;
    const own = await records.vms.findOwn(vmId, caller.keyId);
    if (own === undefined) throw new InstaVmError("vm_not_found", `VM ${vmId} does not exist`);
    const sandbox = host.find(vmId);
    if (sandbox === undefined) {
      throw new InstaVmError("vm_not_found", `VM ${vmId} has ended: ${own.vm.endReason ?? "it does not run any more"}`);
    }
    const { session } = own;
    return { session, sandbox, agent: await sandbox.agent(signal) };
  }
}
