import type { VmId } from "@instavm/contract";
import type { VmRecords } from "../ports/records.ts";
import type { Clock, Log } from "../ports/surroundings.ts";
import type { Sandbox } from "../vm/sandbox.ts";
import { type SandboxEnd, statusAfter } from "../vm/sandbox-end.ts";

/** Writes down how VMs ended, after they did. What cannot be written is found by the next server's start. */
export class VmLedger {
  readonly #parts: { readonly vms: VmRecords; readonly clock: Clock; readonly log: Log };
  readonly #open = new Map<VmId, Promise<void>>();

  constructor(parts: { readonly vms: VmRecords; readonly clock: Clock; readonly log: Log }) {
    this.#parts = parts;
  }

  /** Follows a VM that has its record until it ends. */
  follow(sandbox: Sandbox): void {
    this.#open.set(sandbox.vmId, this.#recordWhenEnded(sandbox));
  }

  /** Resolves when the end of a VM that is ending is written down. */
  async settled(vmId: VmId): Promise<void> {
    await this.#open.get(vmId);
  }

  /** Writes down that a VM has ended. Never rejects. */
  async recordEnd(vmId: VmId, { cause, reason }: SandboxEnd): Promise<void> {
    const { vms, clock, log } = this.#parts;
    try {
      await vms.setStatus(vmId, statusAfter[cause], clock.nowMs(), reason);
    } catch (error) {
      log.error("vm.record_failed", { vmId, error });
    }
  }

  async #recordWhenEnded(sandbox: Sandbox): Promise<void> {
    await this.recordEnd(sandbox.vmId, await sandbox.ended);
    this.#open.delete(sandbox.vmId);
  }
}
