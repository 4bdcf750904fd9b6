import { InstaVmError } from "@instavm/contract";
import type { OutputCall, OutputEvent } from "../ports/agent-link.ts";

/** Takes a piece of output; the next one comes when what it returns has resolved. */
export type TakeOutput = (event: OutputEvent) => void | Promise<void>;

/** Reads a call's output to its end and returns how it ended. */
export async function readCall<Ended>(call: OutputCall<Ended>, take: TakeOutput): Promise<Ended> {
  // Reading may fail first; the call's own rejection says the same and is then nobody's.
  call.ended.catch(() => {});
  for await (const event of call) {
    const taken = take(event);
    if (taken !== undefined) await taken;
  }
  return call.ended;
}

/** Whether an error speaks about the link or the VM, not about the call: another call would fail too. */
export function isLinkFailure(error: unknown): error is InstaVmError {
  if (!(error instanceof InstaVmError)) return false;
  return error.code === "guest_unreachable" || error.code === "guest_protocol" || error.code === "vm_lost";
}
