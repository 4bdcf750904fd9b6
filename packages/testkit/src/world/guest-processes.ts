import { InstaVmError } from "@instavm/contract";
import type { Clock, GuestProcess, StartProcessRequest } from "@instavm/core";
import { FakeProcess } from "./guest-process.ts";

const mostRunning = 128;
const rememberedEnded = 64;

/** The processes of a pretend VM that outlive their calls. */
export class GuestProcesses {
  readonly #clock: Clock;
  readonly #processes = new Map<number, FakeProcess>();
  #started = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** `missing` is a program that is not there, and `nobody-here` a user. */
  start(request: StartProcessRequest): GuestProcess {
    const program = "argv" in request.command ? request.command.argv[0] : "bash";
    if (program === "missing" || request.user === "nobody-here") {
      throw new InstaVmError("file_not_found", `${program} or its user was not found in the VM`);
    }
    const running = [...this.#processes.values()].filter((process) => process.describe().ended === undefined);
    if (running.length >= mostRunning) {
      throw new InstaVmError("limit_exceeded", `${running.length} background processes run`);
    }
    this.#started += 1;
    const process = new FakeProcess(this.#started, request, this.#clock);
    this.#processes.set(process.processId, process);
    void this.#run(process);
    return process.describe();
  }

  list(): readonly GuestProcess[] {
    return [...this.#processes.values()].map((process) => process.describe());
  }

  find(processId: number): FakeProcess {
    const found = this.#processes.get(processId);
    if (found === undefined) throw new InstaVmError("command_not_found", `process ${processId} does not exist`);
    return found;
  }

  forget(processId: number): GuestProcess {
    const process = this.find(processId);
    process.signal(9);
    this.#processes.delete(processId);
    return process.describe();
  }

  async #run(process: FakeProcess): Promise<void> {
    await process.run();
    const ended = [...this.#processes.values()].filter((each) => each.describe().ended !== undefined);
    for (const each of ended.slice(0, -rememberedEnded)) this.#processes.delete(each.processId);
  }
}
