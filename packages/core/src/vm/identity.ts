import type { VmId } from "@instavm/contract";
import type { ActivateRequest } from "../ports/agent-link.ts";
import type { Chance, Clock } from "../ports/surroundings.ts";

const entropyBytes = 64;
const machineIdBytes = 16;

/** What makes a clone an individual: fresh entropy, a name and a machine id of its own, the host's time. */
export function newIdentity(
  vmId: VmId,
  env: Readonly<Record<string, string>>,
  from: { readonly clock: Clock; readonly chance: Chance },
): ActivateRequest {
  return {
    identity: {
      entropy: from.chance.bytes(entropyBytes),
      hostname: vmId,
      machineId: hex(from.chance.bytes(machineIdBytes)),
    },
    unixTimeMs: from.clock.nowMs(),
    env,
  };
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
