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

/** What copies of a VM have beside what it has itself. */
export interface ForkOptions extends CallOptions {
  /** What all copies are called. */
  readonly name?: string;
  /** Added to the metadata of the VM's session. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** Added to the environment of the VM's session. */
  readonly env?: Readonly<Record<string, string>>;
  /** Seconds from the fork until a copy ends by itself, 20..604800; by default as long as the VM's own lifetime is. */
  readonly lifetimeS?: number;
}

export interface ForkVmOptions extends ForkOptions {
  /** 1..100, by default 1. */
  readonly count?: number;
}

export interface CloneVmOptions extends CallOptions {
  readonly name?: string;
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

  /**
   * Copies a VM that runs, memory, processes and files, while it goes on; each copy has a session of its own. All or none.
   * Throws `not_forkable`, with the reason, where VMs cannot be copied so.
   */
  async fork(vmId: string, options: ForkVmOptions = {}): Promise<readonly Vm[]> {
    const body = {
      count: options.count,
      name: options.name,
      metadata: options.metadata,
      env: options.env,
      vm_lifetime_seconds: options.lifetimeS,
    };
    const input = { params: { vm_id: vmId }, body };
    const { vms } = await this.#transport.call(operations.forkVm, input, { timeoutMs: 120_000, ...options });
    return vms.map(toVm);
  }

  /** One copy of a VM that runs; see `fork`. */
  async clone(vmId: string, options: CloneVmOptions = {}): Promise<Vm> {
    const input = { params: { vm_id: vmId }, body: { name: options.name } };
    return toVm(await this.#transport.call(operations.cloneVm, input, { timeoutMs: 120_000, ...options }));
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
