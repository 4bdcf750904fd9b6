import type { SessionId, VmId } from "@instavm/contract";
import type { Host } from "../host/host.ts";
import type { SessionRecord, SessionRecords, UsageEntry } from "../ports/records.ts";
import type { Clock, Log } from "../ports/surroundings.ts";
import type { SessionUsage } from "./sessions.ts";

/** What was counted is written down at most so much later, so that no call waits for it. */
const writeAfterMs = 5_000;

/** What the meter works with. */
export interface UsageMeterParts {
  readonly host: Pick<Host, "find">;
  readonly records: Pick<SessionRecords, "addUsage" | "usage">;
  readonly clock: Clock;
  readonly log: Log;
}

/** What is not written down yet of one session. */
interface Pending {
  executions: number;
  readonly cpuMs: Map<VmId, number>;
}

/** Counts what sessions use. A server that is killed loses what it counted in its last seconds. */
export class UsageMeter {
  readonly #parts: UsageMeterParts;
  readonly #pending = new Map<SessionId, Pending>();
  /** VMs that ran something since they were last looked at. */
  readonly #busy = new Map<VmId, SessionId>();
  #cancelTimer: (() => void) | undefined;
  #isClosed = false;
  #lastTurn: Promise<unknown> = Promise.resolve();

  constructor(parts: UsageMeterParts) {
    this.#parts = parts;
  }

  /** Counts one call that runs code. */
  count(sessionId: SessionId, vmId: VmId): void {
    this.#of(sessionId).executions += 1;
    this.#busy.set(vmId, sessionId);
    this.#arm();
  }

  /** Takes down the CPU time of a VM while it lives. Never rejects. */
  async sample(sessionId: SessionId, vmId: VmId): Promise<void> {
    const cpuMs = await this.#parts.host.find(vmId)?.cpuMs();
    if (cpuMs === undefined) return;
    this.#of(sessionId).cpuMs.set(vmId, cpuMs);
    this.#arm();
  }

  /** What a session has used until now. */
  async read({ sessionId, vmId }: Pick<SessionRecord, "sessionId" | "vmId">): Promise<SessionUsage> {
    if (vmId !== undefined) await this.sample(sessionId, vmId);
    // What is being written would otherwise count twice or not at all.
    return this.#inTurn(() => this.#sum(sessionId));
  }

  /** Writes down the rest. Never rejects. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    await this.#write();
  }

  async #sum(sessionId: SessionId): Promise<SessionUsage> {
    const { records, clock } = this.#parts;
    const pending = this.#pending.get(sessionId);
    const recorded = await records.usage(sessionId);
    const nowMs = clock.nowMs();
    let [cpuMs, wallMs, memoryMibMs] = [0, 0, 0];
    for (const vm of recorded.vms) {
      const livedMs = Math.max(0, (vm.endedAtMs ?? nowMs) - vm.createdAtMs);
      cpuMs += Math.max(vm.cpuMs, pending?.cpuMs.get(vm.vmId) ?? 0);
      wallMs += livedMs;
      memoryMibMs += livedMs * vm.shape.memoryMib;
    }
    return { cpuMs, wallMs, memoryMibMs, executions: recorded.executions + (pending?.executions ?? 0) };
  }

  #of(sessionId: SessionId): Pending {
    const known = this.#pending.get(sessionId);
    if (known !== undefined) return known;
    const fresh: Pending = { executions: 0, cpuMs: new Map() };
    this.#pending.set(sessionId, fresh);
    return fresh;
  }

  #arm(): void {
    if (this.#isClosed) return;
    this.#cancelTimer ??= this.#parts.clock.after(writeAfterMs, () => {
      this.#cancelTimer = undefined;
      void this.#write();
    });
  }

  async #write(): Promise<void> {
    const busy = [...this.#busy];
    this.#busy.clear();
    await Promise.all(busy.map(([vmId, sessionId]) => this.sample(sessionId, vmId)));
    await this.#inTurn(() => this.#writePending());
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#lastTurn.then(work);
    this.#lastTurn = mine.catch(() => {});
    return mine;
  }

  async #writePending(): Promise<void> {
    const { records, log } = this.#parts;
    const taken = new Map(this.#pending);
    if (taken.size === 0) return;
    this.#pending.clear();
    try {
      await records.addUsage([...taken].flatMap(([sessionId, pending]) => entriesOf(sessionId, pending)));
    } catch (error) {
      log.warn("usage.record_failed", { sessions: taken.size, error });
      for (const [sessionId, pending] of taken) this.#giveBack(sessionId, pending);
      this.#arm();
    }
  }

  /** For the next time. */
  #giveBack(sessionId: SessionId, { executions, cpuMs }: Pending): void {
    const pending = this.#of(sessionId);
    pending.executions += executions;
    for (const [vmId, totalMs] of cpuMs) if (!pending.cpuMs.has(vmId)) pending.cpuMs.set(vmId, totalMs);
  }
}

function entriesOf(sessionId: SessionId, { executions, cpuMs }: Pending): readonly UsageEntry[] {
  const counted = executions === 0 ? [] : [{ sessionId, executions, cpu: undefined }];
  return [
    ...counted,
    ...[...cpuMs].map(([vmId, totalMs]) => ({
      sessionId,
      executions: 0,
      cpu: { vmId, totalMs: Math.round(totalMs) },
    })),
  ];
}
