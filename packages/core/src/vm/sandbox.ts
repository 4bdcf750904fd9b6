import { InstaVmError, type Shape, type VmId } from "@instavm/contract";
import type { AgentLink, AgentSession } from "../ports/agent-link.ts";
import type { ForkConfig, ForkedMachine, RunningMachine } from "../ports/engine.ts";
import type { Clock, Log } from "../ports/surroundings.ts";
import type { Waiting } from "../ports/waiting.ts";
import { untilAborted } from "../waiting/deadline.ts";
import type { KeyedQueue } from "../waiting/keyed-queue.ts";
import { AgentChannel } from "./agent-channel.ts";
import { connectAgent, describeEnd } from "./connect-agent.ts";
import type { Leftovers } from "./leftovers.ts";
import { type SandboxEnd, statusAfter } from "./sandbox-end.ts";
import { canBecome, type VmStatus } from "./vm-status.ts";

/** What all sandboxes of a host use. */
export interface SandboxPorts {
  readonly link: AgentLink;
  /** What changes one sandbox waits for its turn here. */
  readonly queue: KeyedQueue<VmId>;
  readonly leftovers: Leftovers;
  readonly clock: Clock;
  readonly log: Log;
  readonly reconnectTimeoutMs: number;
}

/** A machine whose agent has answered. */
export interface ConnectedMachine {
  readonly machine: RunningMachine;
  readonly session: AgentSession;
  readonly shape: Shape;
}

/** One live VM: its process, the way to its agent, its state. Notices by itself when either is lost, and cleans up. */
export class Sandbox {
  readonly vmId: VmId;
  readonly shape: Shape;
  /** Settles, never rejects, when the process is gone and the directory removed. */
  readonly ended: Promise<SandboxEnd>;
  readonly #machine: RunningMachine;
  readonly #ports: SandboxPorts;
  readonly #channel: AgentChannel;
  readonly #hasEnded = Promise.withResolvers<SandboxEnd>();
  #status: VmStatus = "active";
  #end: SandboxEnd | undefined;
  #isLeft = false;
  #probing: Promise<boolean> | undefined;

  constructor(connected: ConnectedMachine, ports: SandboxPorts) {
    this.vmId = connected.machine.vmId;
    this.shape = connected.shape;
    this.ended = this.#hasEnded.promise;
    this.#machine = connected.machine;
    this.#ports = ports;
    this.#channel = new AgentChannel(connected.session, {
      clock: ports.clock,
      reconnect: (signal) => this.#reconnect(signal),
      onLost: (why) => this.#onAgentLost(why),
    });
    void this.#watchProcess();
  }

  /** Its state as clients see it. */
  get status(): VmStatus {
    return this.#status;
  }

  /** How it ended; set from the moment in which its end begins. */
  get end(): SandboxEnd | undefined {
    return this.#end;
  }

  /**
   * The session with its agent; waits while a broken one is mended and while it is in doubt whether the agent lives.
   * Rejects when the sandbox has ended.
   */
  async agent(signal?: AbortSignal): Promise<AgentSession> {
    if (this.#probing !== undefined) await untilAborted(this.#probing, signal);
    return this.#channel.session(signal);
  }

  /**
   * Finds out whether the agent lives; one that does not answer within the time costs the VM. Who asks meanwhile shares
   * the answer. Never rejects.
   */
  probe(timeoutMs: number): Promise<boolean> {
    this.#probing ??= this.#probe(timeoutMs);
    return this.#probing;
  }

  /** After a call on `session` failed: resolves when it is known whether the sandbox lives. Never rejects. */
  async settled(session: AgentSession): Promise<void> {
    await this.#channel.settled(session);
  }

  /** Gives it its full share of the host's cores. */
  prioritise(waiting?: Waiting): Promise<void> {
    return this.#machine.prioritise(waiting);
  }

  /** A copy of its process, while it goes on itself; see `RunningMachine.fork`. */
  fork(config: ForkConfig, waiting?: Waiting): Promise<ForkedMachine> {
    return this.#ports.queue.run(this.vmId, () => this.#machine.fork(config, waiting), waiting?.signal);
  }

  /** CPU time of its process so far, in ms; undefined when nobody can tell. Never rejects. */
  async cpuMs(): Promise<number | undefined> {
    try {
      return await this.#machine.cpuMs?.();
    } catch (error) {
      this.#ports.log.warn("vm.cpu_unread", { vmId: this.vmId, error });
      return undefined;
    }
  }

  /** Ends the VM and removes what it had. The first call decides how it ended; later ones wait for the same end. */
  async destroy(how: SandboxEnd): Promise<SandboxEnd> {
    if (this.#end === undefined) {
      this.#end = how;
      this.#become(statusAfter[how.cause]);
      this.#channel.close(new InstaVmError("vm_lost", `VM ${this.vmId}: ${how.reason}`));
      void this.#cleanUp(how);
    }
    return this.ended;
  }

  /** Leaves the VM running and its agent ready for the next server. Never rejects. */
  async detach(): Promise<void> {
    this.#isLeft = true;
    await this.#channel.detach(new InstaVmError("unavailable", `VM ${this.vmId} is left running: the server stops`));
  }

  async #cleanUp(how: SandboxEnd): Promise<void> {
    await this.#ports.queue.run(this.vmId, () => this.#ports.leftovers.release(this.vmId, this.#machine));
    this.#ports.log.info("vm.ended", { vmId: this.vmId, cause: how.cause, reason: how.reason });
    this.#hasEnded.resolve(how);
  }

  async #probe(timeoutMs: number): Promise<boolean> {
    try {
      const session = await this.#channel.session();
      await session.ping({ timeoutMs }).catch(async () => {
        if (this.#channel.holds(session)) {
          const reason = `its agent did not answer a ping within ${timeoutMs} ms`;
          if (!this.#isLeft) await this.destroy({ cause: "unreachable", reason });
        } else await this.#channel.settled(session);
      });
    } catch {
      // There is no session and will be none: the sandbox has ended or is being left.
    }
    this.#probing = undefined;
    return this.#end === undefined;
  }

  #reconnect(signal: AbortSignal): Promise<AgentSession> {
    const { queue, link, reconnectTimeoutMs, log } = this.#ports;
    log.warn("vm.agent_reconnect", { vmId: this.vmId });
    return queue.run(
      this.vmId,
      () => connectAgent(link, this.#machine, { signal, timeoutMs: reconnectTimeoutMs }),
      signal,
    );
  }

  #onAgentLost(why: Error): void {
    void this.destroy({ cause: "unreachable", reason: `its agent stopped answering: ${why.message}` });
  }

  async #watchProcess(): Promise<void> {
    const { reason } = await this.#machine.ended;
    // Then it is the next server's, which looks for itself.
    if (this.#isLeft) return;
    await this.destroy({ cause: "process_ended", reason: `its process ended (${describeEnd(reason)})` });
  }

  #become(status: VmStatus): void {
    if (!canBecome(this.#status, status)) {
      throw new InstaVmError("internal", `VM ${this.vmId} cannot go from ${this.#status} to ${status}`);
    }
    this.#status = status;
  }
}
