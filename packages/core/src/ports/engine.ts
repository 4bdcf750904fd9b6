import type { Shape, VmId } from "@instavm/contract";
import type { Waiting } from "./waiting.ts";

export type EngineName = "qemu" | "firecracker" | "fake";
export type Accelerator = "kvm" | "tcg" | "none";

/** What an engine found on this host. `fingerprint` covers all that a saved state depends on. */
export interface EngineFacts {
  readonly name: EngineName;
  /** e.g. `7.2.22` */
  readonly version: string;
  readonly accelerator: Accelerator;
  /** Why this accelerator and no faster one, in one sentence. */
  readonly acceleratorReason: string;
  /** Equal strings = a state saved under one can be loaded under the other. Readable, one line. */
  readonly fingerprint: string;
  /** Whether machines can be forked, and if not, why, in one sentence. */
  readonly fork: { readonly isPossible: true } | { readonly isPossible: false; readonly reason: string };
}

/** Absolute host paths of what a VM boots from; read-only to it. */
export interface BootFiles {
  readonly kernelPath: string;
  readonly initrdPath: string;
  /** The image's root filesystem (vda). */
  readonly rootfsPath: string;
}

/** Absolute host paths of a template's or snapshot's files. */
export interface StateFiles {
  readonly memoryPath: string;
  readonly statePath: string;
  readonly diskPath: string;
  /** What the memory has changed since it was mapped from `memoryPath`; left out when that file is all of it. */
  readonly pagesPath?: string;
}

interface MachineConfig {
  readonly vmId: VmId;
  /** The VM's own directory, made by the caller: sockets, log and disk live here. */
  readonly directory: string;
  readonly shape: Shape;
  readonly rootfsPath: string;
}

/** A cold boot. Its memory is `memoryPath`, shared, so that the stopped machine's memory is already saved. */
export interface BootConfig extends MachineConfig {
  readonly boot: BootFiles;
  /** The file that is the VM's memory; made by the engine. */
  readonly memoryPath: string;
  /** What the VM's disk (a file in `directory`) is cloned from before the start. */
  readonly blankDiskPath: string;
}

/** A copy-on-write copy of saved state. */
export interface CloneConfig extends MachineConfig {
  readonly source: StateFiles;
  /** `background` leaves the cores to others until `prioritise`. */
  readonly priority: "normal" | "background";
}

/** A copy of a machine's process. */
export interface ForkConfig {
  readonly vmId: VmId;
  /** As of any VM; the parent's disk is copied into it. */
  readonly directory: string;
  readonly priority: "normal" | "background";
}

/** A copy that runs, wherever its parent stood. */
export interface ForkedMachine {
  readonly machine: RunningMachine;
  /** How long the parent stood, in ms. */
  readonly pauseMs: number;
}

export type EndReason =
  | { readonly kind: "exited"; readonly exitCode: number }
  | { readonly kind: "signalled"; readonly signal: number }
  /** It ended while nobody watched. */
  | { readonly kind: "unknown" };

/** Nothing runs any more; the directory is the caller's to remove. */
export interface EndedMachine {
  readonly phase: "ended";
  readonly vmId: VmId;
  readonly reason: EndReason;
}

/** vCPUs run. */
export interface RunningMachine {
  readonly phase: "running";
  readonly vmId: VmId;
  readonly pid: number;
  /** Unix socket that is the host end of the agent's byte stream; one connection at a time. */
  readonly agentSocketPath: string;
  /** Settles, never rejects, when the process has ended for whatever reason. */
  readonly ended: Promise<EndedMachine>;
  /** Stops the vCPUs. This object must not be used afterwards, but for `ended` and `end`. */
  pause(waiting?: Waiting): Promise<PausedMachine>;
  /**
   * Makes a copy that goes on where this machine is: same memory, an own copy of its disk. The agent's connection is cut
   * in the copy; this machine's stays. Throws `not_forkable`, with the reason, and then nothing has changed.
   */
  fork(config: ForkConfig, waiting?: Waiting): Promise<ForkedMachine>;
  /** From `background` to `normal` priority. */
  prioritise(waiting?: Waiting): Promise<void>;
  /**
   * What the guest's console and the process itself wrote last, at most 4 KiB of printable text, for the log when the VM
   * does not come up. Also after its end. An engine that keeps none leaves it out.
   */
  lastWords?(): Promise<string>;
  /** CPU time of the process so far, in ms, its start included; undefined when it cannot be read. An engine that cannot tell leaves it out. */
  cpuMs?(): Promise<number | undefined>;
  /** Ends the process at once and waits until it is gone. Idempotent. */
  end(waiting?: Waiting): Promise<EndedMachine>;
}

/** Changed pages of a memory. */
export interface SavedMemory {
  /** The file that the rest is in. */
  readonly memoryPath: string;
  readonly bytes: number;
}

/** The process lives, the vCPUs stand still. */
export interface PausedMachine {
  readonly phase: "paused";
  readonly vmId: VmId;
  readonly ended: Promise<EndedMachine>;
  /** Writes the device state, without memory, to a new file. */
  saveDeviceState(statePath: string, waiting?: Waiting): Promise<void>;
  /**
   * Writes the pages of the memory that differ from the file it was cloned from to a new file, and says which file that is:
   * a clone needs both. Throws `engine_failed` for a machine that booted, whose memory is a file already.
   */
  saveMemory(pagesPath: string, waiting?: Waiting): Promise<SavedMemory>;
  /** Copies the VM's disk to a new file: a reflink where the filesystem can, else a sparse copy. */
  saveDisk(diskPath: string, waiting?: Waiting): Promise<void>;
  /** Makes a copy whose vCPUs run; this machine stays paused. Throws `not_forkable`, with the reason. */
  fork(config: ForkConfig, waiting?: Waiting): Promise<ForkedMachine>;
  resume(waiting?: Waiting): Promise<RunningMachine>;
  end(waiting?: Waiting): Promise<EndedMachine>;
}

/** Runs VMs. Every implementation sits the exam in `@instavm/testkit`. */
export interface Engine {
  /** Cached; cheap after the first call. Throws `host_setup` when the engine cannot work here. */
  facts(waiting?: Waiting): Promise<EngineFacts>;
  /** Resolves when the process runs, not when the guest is up. On failure nothing is left running. */
  boot(config: BootConfig, waiting?: Waiting): Promise<RunningMachine>;
  clone(config: CloneConfig, waiting?: Waiting): Promise<RunningMachine>;
  /** VMs of this host whose processes run, whoever started them. */
  running(waiting?: Waiting): Promise<readonly VmId[]>;
  /** Takes over a VM that an earlier server started; undefined when its process is gone. */
  adopt(vmId: VmId, directory: string, waiting?: Waiting): Promise<RunningMachine | undefined>;
}
