import { InstaVmError, type VmId } from "@instavm/contract";
import type { Clock, EndReason, EngineFacts, Template } from "@instavm/core";
import type { FakeAgentSession } from "./fake-session.ts";
import { Guest } from "./guest.ts";
import type { GuestState } from "./guest-state.ts";

/** How a pretend process was started. */
export type Origin = "boot" | "clone" | "fork";

/** A pretend VM process. */
export interface Process {
  readonly vmId: VmId;
  readonly pid: number;
  readonly socketPath: string;
  readonly guest: Guest;
  /** How it was started. */
  readonly origin: Origin;
  readonly ended: Promise<EndReason>;
  readonly end: (reason: EndReason) => void;
  priority: "normal" | "background";
  readonly startedAtMs: number;
  /** CPU time so far, but for what a boot that hangs spins away. */
  cpuMs: number;
  isPaused: boolean;
  /** The file that its memory is mapped from, if it was cloned. */
  basePath: string | undefined;
  session: FakeAgentSession | undefined;
}

/** The empty disk that each template's disk starts from. */
export const blankDiskPath = "/room/blank";

/** What a machine leaves on the pretend disk. */
export interface SavedFile {
  readonly state?: GuestState;
}

/** A pretend host machine: its processes and files outlive every server that runs on it. */
export class MachineRoom {
  readonly processes = new Map<VmId, Process>();
  readonly directories = new Set<VmId>();
  readonly files = new Map<string, SavedFile>([[blankDiskPath, {}]]);
  /** Directories of template drafts that are neither committed nor discarded. */
  readonly drafts = new Set<string>();
  readonly templates = new Map<string, Template>();
  /** Called with each new guest before it runs: a test makes it misbehave. */
  onGuest: (guest: Guest, origin: Origin) => void = () => {};
  /** The base image is built. */
  hasImage = true;
  /** Of the filesystem of the templates. */
  freeBytes = 2 ** 40;
  /** Change it to make what was saved before unusable. */
  engineFingerprint = "fake 1.0 none";
  /** Set it to let the engine fork. */
  fork: EngineFacts["fork"] = { isPossible: false, reason: "it was not asked for" };
  readonly #clock: Clock;
  #drafts = 0;
  #pid = 1000;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Sessions that are open now. */
  get openSessions(): number {
    return [...this.processes.values()].filter(({ session }) => session?.isOpen === true).length;
  }

  /** A directory that no draft had before. */
  newDraftDirectory(): string {
    this.#drafts += 1;
    return `/room/templates/${this.#drafts}`;
  }

  /** The guest of a running VM. */
  guest(vmId: VmId | undefined): Guest {
    const process = vmId === undefined ? undefined : this.processes.get(vmId);
    if (process === undefined) throw new Error(`no VM ${String(vmId)} runs`);
    return process.guest;
  }

  /** Ends a VM's process as `kill -9` does. */
  kill(vmId: VmId | undefined): void {
    const process = vmId === undefined ? undefined : this.processes.get(vmId);
    process?.end({ kind: "signalled", signal: 9 });
  }

  /** Loses the memory file of every template, as a careless administrator does. */
  loseTemplateFiles(): void {
    for (const { files } of this.templates.values()) this.files.delete(files.memoryPath);
  }

  /** What a server that is killed leaves behind of its links: nothing. The VMs run on. */
  dropSessions(): void {
    for (const { session } of this.processes.values()) session?.close(endOfStream());
  }

  start(vmId: VmId, options: { readonly origin: Origin; readonly state?: GuestState }): Process {
    const { promise, resolve } = Promise.withResolvers<EndReason>();
    const guest = new Guest(this.#clock, options.state);
    const process: Process = {
      vmId,
      pid: (this.#pid += 1),
      socketPath: `/room/vms/${vmId}/agent.sock`,
      guest,
      origin: options.origin,
      ended: promise,
      end: (reason) => {
        if (!this.processes.delete(vmId)) return;
        process.session?.close(endOfStream());
        // The link notices sooner than whoever waits for the process.
        setImmediate(() => setImmediate(resolve, reason));
      },
      priority: "normal",
      startedAtMs: this.#clock.monotonicMs(),
      cpuMs: 0,
      isPaused: false,
      basePath: undefined,
      session: undefined,
    };
    guest.crash = () => process.end({ kind: "signalled", signal: 11 });
    this.onGuest(guest, options.origin);
    this.processes.set(vmId, process);
    return process;
  }

  /** CPU time of a process so far; a guest that hangs at its boot spins. */
  cpuMsOf({ guest, startedAtMs, cpuMs }: Process): number {
    return guest.faults.hangsAtBoot ? this.#clock.monotonicMs() - startedAtMs : cpuMs;
  }
}

function endOfStream(): InstaVmError {
  return new InstaVmError("vm_lost", "the connection to the guest agent ended: the other side closed it");
}
