import { commandLimits, InstaVmError, type VmId } from "@instavm/contract";

/** The link to a VM has room for other calls beside these. */
const seatsPerVm = commandLimits.waitingRequests;

/** Counts calls that last, by their VM. */
export class Seats {
  readonly #taken = new Map<VmId, number>();

  /** Counts until disposed. Throws `limit_exceeded` when the VM's are all taken. */
  take(vmId: VmId): Disposable {
    const taken = this.#taken.get(vmId) ?? 0;
    if (taken >= seatsPerVm) {
      throw new InstaVmError(
        "limit_exceeded",
        `${taken} calls read, write or wait for commands of VM ${vmId} already; ${seatsPerVm} may at once.`,
        { next: "End some of them first; each holds one connection." },
      );
    }
    this.#taken.set(vmId, taken + 1);
    return { [Symbol.dispose]: () => this.#release(vmId) };
  }

  #release(vmId: VmId): void {
    const taken = this.#taken.get(vmId) ?? 0;
    if (taken > 1) this.#taken.set(vmId, taken - 1);
    else this.#taken.delete(vmId);
  }
}
