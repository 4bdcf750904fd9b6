import { InstaVmError, type VmId } from "@instavm/contract";
import type {
  BootConfig,
  CloneConfig,
  EndedMachine,
  Engine,
  EngineFacts,
  ForkConfig,
  ForkedMachine,
  PausedMachine,
  RunningMachine,
  Waiting,
} from "@instavm/core";
import type { Faults } from "../faults.ts";
import { copyOf } from "./guest-state.ts";
import type { MachineRoom, Process } from "./machine-room.ts";

interface Forking {
  readonly parent: Process;
  /** Of a machine that booted: where its memory is. */
  readonly memoryPath: string | undefined;
}

/** An engine whose VMs are entries of a `MachineRoom`. */
export class RoomEngine implements Engine {
  readonly #room: MachineRoom;
  readonly #faults: Faults;

  constructor(room: MachineRoom, faults: Faults) {
    this.#room = room;
    this.#faults = faults;
  }

  facts(waiting?: Waiting): Promise<EngineFacts> {
    return this.#faults.call("engine.facts", waiting?.signal, () => ({
      name: "fake",
      version: "1.0",
      accelerator: "none",
      acceleratorReason: "nothing is emulated",
      fingerprint: this.#room.engineFingerprint,
      fork: this.#room.fork,
    }));
  }

  boot(config: BootConfig, waiting?: Waiting): Promise<RunningMachine> {
    return this.#faults.call("engine.boot", waiting?.signal, () => {
      this.#checkDirectory(config.vmId);
      if (!this.#room.files.has(config.blankDiskPath)) {
        throw new InstaVmError("engine_failed", `the blank disk ${config.blankDiskPath} does not exist`);
      }
      const process = this.#room.start(config.vmId, { origin: "boot" });
      return this.#running(process, config.memoryPath);
    });
  }

  clone(config: CloneConfig, waiting?: Waiting): Promise<RunningMachine> {
    return this.#faults.call("engine.clone", waiting?.signal, () => {
      this.#checkDirectory(config.vmId);
      const { statePath, memoryPath, diskPath, pagesPath } = config.source;
      const whole = this.#room.files.get(statePath)?.state;
      const memory = pagesPath === undefined ? whole : whole && this.#room.files.get(pagesPath)?.state;
      const disk = this.#room.files.get(diskPath)?.state;
      if (memory === undefined || disk === undefined || !this.#room.files.has(memoryPath)) {
        throw new InstaVmError("engine_failed", `the saved state ${statePath} is not whole`);
      }
      const state = { ...copyOf(memory), files: copyOf(disk).files };
      const process = this.#room.start(config.vmId, { origin: "clone", state });
      process.priority = config.priority;
      process.basePath = memoryPath;
      return this.#running(process);
    });
  }

  running(waiting?: Waiting): Promise<readonly VmId[]> {
    return this.#faults.call("engine.running", waiting?.signal, () => [...this.#room.processes.keys()]);
  }

  adopt(vmId: VmId, _directory: string, waiting?: Waiting): Promise<RunningMachine | undefined> {
    return this.#faults.call("engine.adopt", waiting?.signal, () => {
      const process = this.#room.processes.get(vmId);
      if (process === undefined) return undefined;
      process.isPaused = false;
      return this.#running(process);
    });
  }

  #checkDirectory(vmId: VmId): void {
    if (!this.#room.directories.has(vmId)) {
      throw new InstaVmError("engine_failed", `the directory of VM ${vmId} does not exist`);
    }
  }

  #running(process: Process, memoryPath?: string): RunningMachine {
    const { vmId, pid, socketPath } = process;
    const shared = this.#shared(process);
    return {
      ...shared,
      phase: "running",
      pid,
      agentSocketPath: socketPath,
      pause: (waiting) =>
        this.#faults.call("machine.pause", waiting?.signal, () => {
          this.#check(process);
          process.isPaused = true;
          return this.#paused(process, memoryPath);
        }),
      prioritise: (waiting) =>
        this.#faults.call("machine.prioritise", waiting?.signal, () => {
          this.#check(process);
          process.priority = "normal";
        }),
      fork: (config, waiting) => this.#fork({ parent: process, memoryPath }, config, waiting),
      lastWords: () => this.#faults.call("machine.lastWords", undefined, () => `${vmId}: the console's last line`),
      cpuMs: () => this.#faults.call("machine.cpuMs", undefined, () => this.#room.cpuMsOf(process)),
      vmId,
    };
  }

  #paused(process: Process, memoryPath: string | undefined): PausedMachine {
    const save = (name: string, path: string, waiting?: Waiting): Promise<void> =>
      this.#faults.call(name, waiting?.signal, () => {
        this.#check(process);
        if (this.#room.files.has(path)) throw new InstaVmError("engine_failed", `${path} exists already`);
        this.#room.files.set(path, { state: copyOf(process.guest.state) });
        if (memoryPath !== undefined) this.#room.files.set(memoryPath, {});
      });
    return {
      ...this.#shared(process),
      phase: "paused",
      saveDeviceState: (path, waiting) => {
        if (process.session?.isOpen === true) throw new Error("a state was saved with a session open");
        return save("machine.saveDeviceState", path, waiting);
      },
      saveMemory: async (path, waiting) => {
        const { basePath } = process;
        if (basePath === undefined) throw new InstaVmError("engine_failed", `VM ${process.vmId} was not cloned`);
        await save("machine.saveMemory", path, waiting);
        return { memoryPath: basePath, bytes: 4096 };
      },
      saveDisk: (path, waiting) => save("machine.saveDisk", path, waiting),
      fork: (config, waiting) => this.#fork({ parent: process, memoryPath }, config, waiting),
      resume: (waiting) =>
        this.#faults.call("machine.resume", waiting?.signal, () => {
          this.#check(process);
          process.isPaused = false;
          return this.#running(process, memoryPath);
        }),
    };
  }

  #fork({ parent, memoryPath }: Forking, config: ForkConfig, waiting?: Waiting): Promise<ForkedMachine> {
    return this.#faults.call("machine.fork", waiting?.signal, () => {
      this.#check(parent);
      const { fork } = this.#room;
      if (!fork.isPossible) throw new InstaVmError("not_forkable", `VM ${parent.vmId}: ${fork.reason}`);
      if (memoryPath !== undefined) throw new InstaVmError("not_forkable", `VM ${parent.vmId}: its memory is shared`);
      this.#checkDirectory(config.vmId);
      const process = this.#room.start(config.vmId, { origin: "fork", state: copyOf(parent.guest.state) });
      process.priority = config.priority;
      process.basePath = parent.basePath;
      return { machine: this.#running(process), pauseMs: 1 };
    });
  }

  #shared(process: Process): Pick<RunningMachine, "vmId" | "ended" | "end"> {
    const { vmId } = process;
    const ended = (async (): Promise<EndedMachine> => ({ phase: "ended", vmId, reason: await process.ended }))();
    return {
      vmId,
      ended,
      end: (waiting) =>
        this.#faults.call("machine.end", waiting?.signal, () => {
          process.end({ kind: "signalled", signal: 9 });
          return ended;
        }),
    };
  }

  #check(process: Process): void {
    if (this.#room.processes.get(process.vmId) !== process) {
      throw new InstaVmError("vm_lost", `VM ${process.vmId}: its process ended`);
    }
  }
}
