import { InstaVmError } from "@instavm/contract";
import type { GuestProcess, StartProcessRequest } from "../ports/agent-processes.ts";
import type { Clock } from "../ports/surroundings.ts";
import type { Waiting } from "../ports/waiting.ts";
import type { VmReference } from "../sessions/own-vms.ts";
import type { Caller } from "../sessions/sessions.ts";
import type { UsageMeter } from "../sessions/usage-meter.ts";
import { type AskedVm, type OpenedVm, VmCalls, type VmCallsParts } from "../sessions/vm-calls.ts";
import { startDeadline } from "../waiting/deadline.ts";
import type { CommandPlace, Commands, ReadOutputRequest, TakeCommandOutput } from "./commands.ts";
import { Seats } from "./seats.ts";

/** What commands are run with. */
export interface CommandServiceParts extends VmCallsParts {
  readonly meter: Pick<UsageMeter, "count">;
  readonly clock: Clock;
}

/** Hands the clients' calls to the agent of the right VM, which keeps the processes and the end of their output. */
export class CommandService implements Commands {
  readonly #parts: CommandServiceParts;
  readonly #calls: VmCalls;
  readonly #seats = new Seats();

  constructor(parts: CommandServiceParts) {
    this.#parts = parts;
    this.#calls = new VmCalls(parts, "while it was asked for a command");
  }

  async start(
    caller: Caller,
    { vm, ...request }: StartProcessRequest & { readonly vm: VmReference },
    waiting: Waiting = {},
  ): Promise<GuestProcess> {
    return this.#calls.call({ caller, vm, waiting }, async ({ agent, vm: { session, sandbox }, signal }) => {
      const started = await agent.processes.start(request, { signal });
      this.#parts.meter.count(session.sessionId, sandbox.vmId);
      return started;
    });
  }

  async list(caller: Caller, vm: VmReference, waiting: Waiting = {}): Promise<readonly GuestProcess[]> {
    return this.#calls.call({ caller, vm, waiting }, ({ agent, signal }) => agent.processes.list({ signal }));
  }

  async get(
    caller: Caller,
    { vm, processId, waitMs }: CommandPlace & { readonly waitMs: number },
    waiting: Waiting = {},
  ): Promise<GuestProcess> {
    const now = await this.#find(caller, { vm, processId }, waiting);
    if (now.ended !== undefined || waitMs <= 0) return now;
    const ended = await this.#lasting({ caller, vm, waiting }, (opened) => this.#wait(opened, processId, waitMs));
    return ended ?? this.#find(caller, { vm, processId }, waiting);
  }

  async readOutput(
    caller: Caller,
    { vm, processId, ...part }: ReadOutputRequest,
    { take, ...waiting }: Waiting & { readonly take: TakeCommandOutput },
  ): Promise<GuestProcess> {
    return this.#lasting({ caller, vm, waiting }, async ({ agent, signal }) => {
      const reader = agent.processes.attach(processId, { ...part, signal });
      // Reading may fail first; its own rejection says the same and is then nobody's.
      reader.state.catch(() => {});
      for await (const event of reader) {
        const taken = take(event);
        if (taken !== undefined) await taken;
      }
      return reader.state;
    });
  }

  async writeStdin(
    caller: Caller,
    request: CommandPlace & { readonly content: AsyncIterable<Uint8Array>; readonly close: boolean },
    waiting: Waiting = {},
  ): Promise<number> {
    const { vm, processId, content, close } = request;
    return this.#lasting({ caller, vm, waiting }, ({ agent, signal }) =>
      agent.processes.writeStdin(processId, content, { close, signal }),
    );
  }

  async signal(
    caller: Caller,
    { vm, processId, signal: number }: CommandPlace & { readonly signal: number },
    waiting: Waiting = {},
  ): Promise<GuestProcess> {
    return this.#calls.call({ caller, vm, waiting }, ({ agent, signal }) =>
      agent.processes.signal(processId, number, { signal }),
    );
  }

  async forget(caller: Caller, { vm, processId }: CommandPlace, waiting: Waiting = {}): Promise<GuestProcess> {
    return this.#calls.call({ caller, vm, waiting }, ({ agent, signal }) =>
      agent.processes.forget(processId, { signal }),
    );
  }

  async #find(caller: Caller, { vm, processId }: CommandPlace, waiting: Waiting): Promise<GuestProcess> {
    const processes = await this.list(caller, vm, waiting);
    const found = processes.find((each) => each.processId === processId);
    if (found === undefined) {
      throw new InstaVmError("command_not_found", `Command ${processId} does not exist in this VM, or is forgotten.`);
    }
    return found;
  }

  /** How it ended; undefined when it still runs after `waitMs`. */
  async #wait({ agent, signal }: OpenedVm, processId: number, waitMs: number): Promise<GuestProcess | undefined> {
    using deadline = startDeadline(this.#parts.clock, {
      timeoutMs: waitMs,
      signal,
      expired: () => new InstaVmError("timeout", `command ${processId} still runs after ${waitMs} ms`),
    });
    try {
      return await agent.processes.wait(processId, { signal: deadline.signal });
    } catch (error) {
      if (deadline.hasExpired() && !signal.aborted) return undefined;
      throw error;
    }
  }

  /** A call that waits for the guest as long as that takes. */
  async #lasting<T>(asked: AskedVm, work: (opened: OpenedVm) => Promise<T>): Promise<T> {
    return this.#calls.call({ ...asked, isLasting: true }, async (opened) => {
      using _seat = this.#seats.take(opened.vm.sandbox.vmId);
      return await work(opened);
    });
  }
}
