import { InstaVmError, type SessionId, type VmId } from "@instavm/contract";
import type { Host, Started } from "../host/host.ts";
import type { AgentSession } from "../ports/agent-link.ts";
import type { Records, SessionRecord, VmRecord } from "../ports/records.ts";
import type { Clock } from "../ports/surroundings.ts";
import type { Sandbox } from "../vm/sandbox.ts";
import { joinSignals } from "../waiting/deadline.ts";
import type { KeyedQueue } from "../waiting/keyed-queue.ts";
import { endOf, expiredSession, killedSession, unknownSession } from "./session-rules.ts";
import type { UsageMeter } from "./usage-meter.ts";
import type { VmLedger } from "./vm-ledger.ts";

/** What binds sessions to VMs. */
export interface SessionVmsParts {
  readonly host: Host;
  readonly records: Pick<Records, "sessions" | "vms">;
  readonly ledger: VmLedger;
  /** What changes one session waits for its turn here. */
  readonly queue: KeyedQueue<SessionId>;
  readonly clock: Clock;
  readonly meter: UsageMeter;
}

/** A session's VM and the way to its agent. */
export interface LiveVm {
  readonly sandbox: Sandbox;
  readonly agent: AgentSession;
  /** Set when this call started the VM. */
  readonly started: Started | undefined;
}

/** Sessions that are to have copies of one VM. */
export interface ForkedSessions {
  readonly source: VmId;
  readonly sessions: readonly SessionRecord[];
  /** Added to what the source has. */
  readonly env: Readonly<Record<string, string>>;
}

/** Gives each session at most one live VM: its first one, a fresh one when that died, none once the session ended. */
export class SessionVms {
  readonly #parts: SessionVmsParts;
  /** Replacements under way, so that the session's end need not wait for them. */
  readonly #replacing = new Map<SessionId, AbortController>();

  constructor(parts: SessionVmsParts) {
    this.#parts = parts;
  }

  /** Starts the VM of a new session and records both. On failure or abort neither VM nor live session is left. */
  async open(session: SessionRecord, signal: AbortSignal): Promise<{ vm: VmRecord; started: Started }> {
    const { host, records, queue, ledger } = this.#parts;
    return queue.run(session.sessionId, async () => {
      const started = await host.create({ shape: session.shape, env: session.env }, signal);
      const vm = this.#recordOf(session, started);
      try {
        await records.sessions.insert({ ...session, vmId: vm.vmId }, vm);
      } catch (error) {
        await host.destroy(vm.vmId, { cause: "discarded", reason: "its session could not be recorded" });
        throw error;
      }
      ledger.follow(started.sandbox);
      if (signal.aborted) {
        await this.#finish({ ...session, vmId: vm.vmId }, "killed");
        signal.throwIfAborted();
      }
      return { vm, started };
    });
  }

  /** Copies a VM that runs, one for each of the new sessions, and records them: all, or nothing is left of any. */
  async openForks({ source, sessions, env }: ForkedSessions, signal: AbortSignal): Promise<readonly VmRecord[]> {
    const { host, records, queue, ledger } = this.#parts;
    const recorded = Promise.withResolvers<void>();
    // Who finds one of them while they are being recorded waits with its end.
    for (const { sessionId } of sessions) void queue.run(sessionId, () => recorded.promise);
    try {
      const copies = await host.fork(source, { count: sessions.length, env }, signal);
      const entries = sessions.flatMap((session, index) => {
        const copy = copies[index];
        if (copy === undefined) return [];
        const vm = this.#recordOf(session, copy, source);
        return [{ session: { ...session, vmId: vm.vmId }, vm }];
      });
      try {
        await records.sessions.insertAll(entries);
      } catch (error) {
        const how = { cause: "discarded", reason: "its session could not be recorded" } as const;
        await Promise.all(entries.map(({ vm }) => host.destroy(vm.vmId, how)));
        throw error;
      }
      for (const { sandbox } of copies) ledger.follow(sandbox);
      if (signal.aborted) {
        await Promise.all(entries.map(({ session }) => this.#finish(session, "killed")));
        signal.throwIfAborted();
      }
      return entries.map(({ vm }) => vm);
    } finally {
      recorded.resolve();
    }
  }

  /** The session's live VM; a fresh one when the last one is dead. Rejects when the session has ended. */
  async live(session: SessionRecord, signal: AbortSignal): Promise<LiveVm> {
    const sandbox = this.#find(session);
    if (sandbox !== undefined) {
      const agent = await reach(sandbox, signal);
      if (agent !== undefined) return { sandbox, agent, started: undefined };
    }
    return this.#parts.queue.run(session.sessionId, () => this.#liveOrFresh(session.sessionId, signal), signal);
  }

  /** Ends a session and its VM. Rejects with `session_not_found` when it has ended already. */
  async end(session: SessionRecord, reason: "killed" | "expired"): Promise<void> {
    const { sessionId, lifetimeS } = session;
    this.#replacing
      .get(sessionId)
      ?.abort(reason === "killed" ? killedSession(sessionId) : expiredSession(sessionId, lifetimeS));
    await this.#parts.queue.run(sessionId, async () => {
      const current = await this.#parts.records.sessions.find(sessionId);
      if (current === undefined) throw unknownSession(sessionId);
      if (current.endedAtMs !== undefined) throw endOf(current, current.endedAtMs) ?? unknownSession(sessionId);
      await this.#finish(current, reason);
    });
  }

  /** The live VM of a session, if it has one. */
  #find(session: SessionRecord): Sandbox | undefined {
    return session.vmId === undefined ? undefined : this.#parts.host.find(session.vmId);
  }

  async #liveOrFresh(sessionId: SessionId, signal: AbortSignal): Promise<LiveVm> {
    const session = await this.#parts.records.sessions.find(sessionId);
    if (session === undefined) throw unknownSession(sessionId);
    const end = endOf(session, this.#parts.clock.nowMs());
    if (end !== undefined) throw end;
    const sandbox = this.#find(session);
    const agent = sandbox && (await reach(sandbox, signal));
    if (sandbox !== undefined && agent !== undefined) return { sandbox, agent, started: undefined };
    const started = await this.#replace(session, signal);
    return { sandbox: started.sandbox, agent: await started.sandbox.agent(signal), started };
  }

  async #replace(session: SessionRecord, signal: AbortSignal): Promise<Started> {
    const { host, records, ledger } = this.#parts;
    const { sessionId, shape, env } = session;
    const replacing = new AbortController();
    this.#replacing.set(sessionId, replacing);
    try {
      // Its end must be written before the session points elsewhere.
      if (session.vmId !== undefined) await ledger.settled(session.vmId);
      const started = await host.create({ shape, env }, joinSignals(signal, replacing.signal));
      try {
        await records.sessions.assign(sessionId, this.#recordOf(session, started));
      } catch (error) {
        const reason = "it could not be recorded for its session";
        await host.destroy(started.sandbox.vmId, { cause: "discarded", reason });
        throw error;
      }
      ledger.follow(started.sandbox);
      return started;
    } finally {
      this.#replacing.delete(sessionId);
    }
  }

  /** Reality first, record second. */
  async #finish(session: SessionRecord, reason: "killed" | "expired"): Promise<void> {
    const { host, ledger, meter, records, clock } = this.#parts;
    if (session.vmId !== undefined) {
      await meter.sample(session.sessionId, session.vmId);
      const text = reason === "killed" ? "its session was killed" : "its session's lifetime is over";
      await host.destroy(session.vmId, { cause: reason, reason: text });
      await ledger.settled(session.vmId);
    }
    await records.sessions.end(session.sessionId, reason, clock.nowMs());
  }

  #recordOf(session: Pick<SessionRecord, "sessionId" | "shape">, { sandbox, start }: Started, source?: VmId): VmRecord {
    const { sessionId, shape } = session;
    return {
      vmId: sandbox.vmId,
      sessionId,
      status: "active",
      start,
      forkedFrom: source,
      shape,
      createdAtMs: this.#parts.clock.nowMs(),
      endedAtMs: undefined,
      endReason: undefined,
    };
  }
}

/** The agent's session, or undefined when the sandbox turned out to be dead. */
async function reach(sandbox: Sandbox, signal: AbortSignal): Promise<AgentSession | undefined> {
  try {
    return await sandbox.agent(signal);
  } catch (error) {
    if (signal.aborted || sandbox.end === undefined || !(error instanceof InstaVmError)) throw error;
    await sandbox.ended;
    return undefined;
  }
}
