import type { VmId } from "@instavm/contract";
import type { EndReason, Waiting } from "@instavm/core";

/** A QEMU to start. */
export interface ProcessStart {
  readonly vmId: VmId;
  /** Absolute. */
  readonly program: string;
  readonly args: readonly string[];
  /** Copied before the start, as a reflink where the filesystem can. */
  readonly clones: readonly { readonly from: string; readonly toName: string }[];
  /** Opened and inherited under these numbers. */
  readonly inherited: readonly { readonly fd: number; readonly path: string; readonly writable: boolean }[];
  /** -20..19; 0 is normal. */
  readonly priority: number;
}

/** A process as the launcher knows it. */
export interface VmProcess {
  readonly vmId: VmId;
  readonly pid: number;
  /** Unset while it runs. */
  readonly ended?: EndReason | undefined;
}

/** What this adapter needs of the launcher. Every call throws an InstaVmError. */
export interface VmProcesses {
  start(start: ProcessStart, waiting?: Waiting): Promise<{ readonly pid: number }>;
  signal(vmId: VmId, signal: number, waiting?: Waiting): Promise<void>;
  setPriority(vmId: VmId, priority: number, waiting?: Waiting): Promise<void>;
  list(waiting?: Waiting): Promise<readonly VmProcess[]>;
  /** Drops what is remembered of a process that ended. */
  forget(vmId: VmId, waiting?: Waiting): Promise<void>;
  /** Settles, never rejects, when the VM's present process has ended. */
  ended(vmId: VmId): Promise<EndReason>;
}
