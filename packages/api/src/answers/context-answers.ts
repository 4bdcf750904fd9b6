import { contextIdSchema, type Context, type VmId } from "@instavm/contract";
import type { GuestContext } from "@instavm/core";

/** One context as the API shows it. */
export function contextAnswer(vmId: VmId, { contextId, language, cwd, isBusy }: GuestContext): Context {
  const id = contextIdSchema.parse(contextId);
  return { id, context_id: id, vm_id: vmId, language, cwd, is_busy: isBusy };
}
