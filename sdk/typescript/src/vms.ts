import { operations } from "@instavm/contract";
import { Files } from "./files.ts";
import type { ShapeOptions } from "./options.ts";
import type { CallOptions, Transport } from "./transport.ts";
import { fromVmChanges, toVm } from "./vm-answers.ts";
import type { Vm, VmChanges } from "./vm-answers.ts";

export interface CreateVmOptions extends ShapeOptions, CallOptions {
  readonly name?: string;
  /** A session of one's own that gets the VM; without it the VM comes with a new session. */
  readonly sessionId?: string;
}

export interface ListVmRecordsOptions extends CallOptions {
  /** 1..10000, by default 1000. */
  readonly limit?: number;
}

/** The VMs of a key. */
export class Vms {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Resolves when the VM is ready for `execute` with its `sessionId`. */
  async create(options: CreateVmOptions = {}): Promise<Vm> {
    const body = {
      vcpu_count: options.vcpuCount,
      memory_mb: options.memoryMib,
      vm_lifetime_seconds: options.lifetimeS,
      env: options.env,
      metadata: options.metadata,
      name: options.name,
      session_id: options.sessionId,
    };
    return toVm(await this.#transport.call(operations.createVm, { body }, { timeoutMs: 120_000, ...options }));
  }

  /** The live VMs, newest first. */
  async list(options: CallOptions = {}): Promise<readonly Vm[]> {
    return (await this.#transport.call(operations.listVms, {}, options)).map(toVm);
  }

  /** The VMs that live and that ended, newest first. */
  async listRecords(options: ListVmRecordsOptions = {}): Promise<readonly Vm[]> {
    const query = { limit: options.limit };
    return (await this.#transport.call(operations.listVmRecords, { query }, options)).map(toVm);
  }

  async get(vmId: string, options: CallOptions = {}): Promise<Vm> {
    return toVm(await this.#transport.call(operations.getVm, { params: { vm_id: vmId } }, options));
  }

  async update(vmId: string, changes: VmChanges, options: CallOptions = {}): Promise<Vm> {
    const input = { params: { vm_id: vmId }, body: fromVmChanges(changes) };
    return toVm(await this.#transport.call(operations.updateVm, input, options));
  }

  /** Ends the VM with its session and files. */
  async delete(vmId: string, options: CallOptions = {}): Promise<void> {
    await this.#transport.call(operations.deleteVm, { params: { vm_id: vmId } }, options);
  }

  /** The files of a VM. */
  files(vmId: string): Files {
    return new Files(this.#transport, { vmId });
  }
}
