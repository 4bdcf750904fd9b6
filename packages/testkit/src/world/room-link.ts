import { InstaVmError } from "@instavm/contract";
import type { ActivateRequest, AgentLink, AgentSession, Clock, ConnectOptions } from "@instavm/core";
import type { Faults } from "../faults.ts";
import { FakeAgentSession } from "./fake-session.ts";
import type { MachineRoom, Process } from "./machine-room.ts";

const attemptMs = 50;
const defaultTimeoutMs = 10_000;

/** Reaches the guests of a `MachineRoom`: one session for each at a time, and only while it runs. */
export class RoomLink implements AgentLink {
  readonly #room: MachineRoom;
  readonly #faults: Faults;
  readonly #clock: Clock;

  constructor(room: MachineRoom, faults: Faults, clock: Clock) {
    this.#room = room;
    this.#faults = faults;
    this.#clock = clock;
  }

  connect(socketPath: string, waiting?: ConnectOptions): Promise<AgentSession> {
    return this.#faults.call("link.connect", waiting?.signal, async () => {
      const deadlineMs = this.#clock.monotonicMs() + (waiting?.timeoutMs ?? defaultTimeoutMs);
      for (;;) {
        const process = [...this.#room.processes.values()].find((candidate) => candidate.socketPath === socketPath);
        if (process !== undefined && answers(process)) return this.#open(process, waiting?.activate);
        const leftMs = deadlineMs - this.#clock.monotonicMs();
        if (leftMs <= 0) throw new InstaVmError("guest_unreachable", `no agent answers at ${socketPath}`);
        await this.#wait(Math.min(attemptMs, leftMs), waiting?.signal);
      }
    });
  }

  #open(process: Process, activate: ActivateRequest | undefined): AgentSession {
    if (process.guest.faults.talksGarbage) {
      throw new InstaVmError("guest_protocol", "the agent's welcome is not one");
    }
    if (activate !== undefined) process.guest.activate(activate);
    process.session = new FakeAgentSession(process.guest, this.#faults);
    return process.session;
  }

  async #wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const cancel = this.#clock.after(ms, resolve);
    const onAbort = (): void => reject(signal?.reason);
    if (signal?.aborted === true) onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      await promise;
    } finally {
      cancel();
      signal?.removeEventListener("abort", onAbort);
    }
  }
}

function answers({ guest, isPaused, session }: Process): boolean {
  return !isPaused && !guest.faults.hangsAtBoot && !guest.faults.isDeaf && session?.isOpen !== true;
}
