import { InstaVmError } from "@instavm/contract";
import type { AgentLink, AgentSession, ConnectOptions } from "../ports/agent-link.ts";
import type { EndReason, RunningMachine } from "../ports/engine.ts";
import { joinSignals } from "../waiting/deadline.ts";

/** Connects to the agent of a machine; fails at once with `vm_lost` when the machine's process ends meanwhile. */
export async function connectAgent(
  link: AgentLink,
  machine: RunningMachine,
  options: ConnectOptions & { readonly timeoutMs: number },
): Promise<AgentSession> {
  const gone = new AbortController();
  void (async () => {
    const { reason } = await machine.ended;
    gone.abort(
      new InstaVmError(
        "vm_lost",
        `VM ${machine.vmId}: its process ended (${describeEnd(reason)}) before its agent answered`,
      ),
    );
  })();
  return link.connect(machine.agentSocketPath, { ...options, signal: joinSignals(gone.signal, options.signal) });
}

/** How a process ended, for a person. */
export function describeEnd(reason: EndReason): string {
  if (reason.kind === "exited") return `exit code ${reason.exitCode}`;
  if (reason.kind === "signalled") return `signal ${reason.signal}`;
  return "nobody saw how";
}
