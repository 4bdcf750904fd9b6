import { InstaVmError, operations } from "@instavm/contract";
import type { CallOptions, Transport } from "./transport.ts";

/** A VM, or the one that a session has at the moment. */
export type VmOf = { readonly vmId: string } | { readonly sessionId: string };

/** The VM's id. Throws `vm_lost` for a session that has none at the moment. */
export async function vmIdOf(transport: Transport, of: VmOf, options: CallOptions): Promise<string> {
  if ("vmId" in of) return of.vmId;
  const { sessionId } = of;
  const { vm_id: vmId } = await transport.call(operations.getSession, { params: { session_id: sessionId } }, options);
  if (vmId !== null) return vmId;
  throw new InstaVmError("vm_lost", `Session ${sessionId} has no VM at the moment.`, {
    next: "Run code in the session: that starts one.",
  });
}
