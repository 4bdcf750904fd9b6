import { type ExecutionId, InstaVmError, type KeyId, keyIdSchema, type SessionId, type VmId } from "@instavm/contract";
import {
  type AnswerRecord,
  type AnswerRecords,
  canBecome,
  type ExecutionFilter,
  type ExecutionOutput,
  type ExecutionRecord,
  type ExecutionRecords,
  type KeyRecord,
  type KeyRecords,
  type ListOptions,
  type RecordedUsage,
  type Records,
  type SessionChange,
  type SessionRecord,
  type SessionRecords,
  type SessionWithVm,
  type UsageEntry,
  type VmRecord,
  type VmRecords,
  type VmStatus,
  type VmWithSession,
} from "@instavm/core";
import type { Faults } from "../faults.ts";

/** What a database holds. It outlives every server that opens it. */
export class RecordTables {
  readonly sessions = new Map<SessionId, SessionRecord>();
  readonly vms = new Map<VmId, VmRecord>();
  /** CPU time of VMs in ms, and executions of sessions. */
  readonly usage = new Map<VmId | SessionId, number>();
  readonly keys: KeyRecord[] = [];
  readonly executions = new Map<ExecutionId, ExecutionRecord & ExecutionOutput>();
  readonly answers = new Map<string, AnswerRecord>();
}

/** One server's way to its records. */
export function openMemoryRecords(tables: RecordTables, faults: Faults): Records {
  return {
    sessions: new MemorySessions(tables, faults),
    vms: new MemoryVms(tables, faults),
    keys: new MemoryKeys(tables),
    executions: new MemoryExecutions(tables, faults),
    answers: new MemoryAnswers(tables, faults),
  };
}

class MemorySessions implements SessionRecords {
  readonly #tables: RecordTables;
  readonly #faults: Faults;

  constructor(tables: RecordTables, faults: Faults) {
    this.#tables = tables;
    this.#faults = faults;
  }

  insert(session: SessionRecord, vm?: VmRecord): Promise<void> {
    return this.#faults.call("sessions.insert", undefined, () => {
      this.#tables.sessions.set(session.sessionId, session);
      if (vm !== undefined) this.#tables.vms.set(vm.vmId, vm);
    });
  }

  insertAll(entries: readonly { readonly session: SessionRecord; readonly vm: VmRecord }[]): Promise<void> {
    return this.#faults.call("sessions.insertAll", undefined, () => {
      for (const { session, vm } of entries) {
        this.#tables.sessions.set(session.sessionId, session);
        this.#tables.vms.set(vm.vmId, vm);
      }
    });
  }

  find(sessionId: SessionId, keyId?: KeyId): Promise<SessionRecord | undefined> {
    return this.#faults.call("sessions.find", undefined, () => {
      const session = this.#tables.sessions.get(sessionId);
      return keyId === undefined || session?.keyId === keyId ? session : undefined;
    });
  }

  findOwn(sessionId: SessionId, keyId: KeyId): Promise<SessionWithVm | undefined> {
    return this.#faults.call("sessions.findOwn", undefined, () => {
      const session = this.#tables.sessions.get(sessionId);
      return session?.keyId === keyId ? this.#withVm(session) : undefined;
    });
  }

  listByKey(keyId: KeyId, { limit, liveOnly = false }: ListOptions): Promise<readonly SessionWithVm[]> {
    return this.#faults.call("sessions.listByKey", undefined, () =>
      [...this.#tables.sessions.values()]
        .filter((session) => session.keyId === keyId && !(liveOnly && session.endedAtMs !== undefined))
        .toReversed()
        .slice(0, limit)
        .map((session) => this.#withVm(session)),
    );
  }

  listLive(): Promise<readonly SessionRecord[]> {
    return this.#faults.call("sessions.listLive", undefined, () =>
      [...this.#tables.sessions.values()].filter((session) => session.endedAtMs === undefined),
    );
  }

  assign(sessionId: SessionId, vm: VmRecord): Promise<void> {
    return this.#faults.call("sessions.assign", undefined, () => {
      const session = this.#existing(sessionId);
      this.#tables.vms.set(vm.vmId, vm);
      this.#tables.sessions.set(sessionId, { ...session, vmId: vm.vmId });
    });
  }

  end(sessionId: SessionId, reason: "killed" | "expired", atMs: number): Promise<void> {
    return this.#faults.call("sessions.end", undefined, () => {
      const session = this.#existing(sessionId);
      if (session.endedAtMs !== undefined) return;
      this.#tables.sessions.set(sessionId, { ...session, endedAtMs: atMs, endReason: reason });
    });
  }

  change(sessionId: SessionId, { name, metadata, lifetime }: SessionChange): Promise<void> {
    return this.#faults.call("sessions.change", undefined, () => {
      const session = this.#existing(sessionId);
      if (session.endedAtMs !== undefined) throw new InstaVmError("session_not_found", `${sessionId} has ended`);
      this.#tables.sessions.set(sessionId, {
        ...session,
        ...(name === undefined ? {} : { name: name ?? undefined }),
        ...(metadata === undefined ? {} : { metadata }),
        ...lifetime,
      });
    });
  }

  addUsage(entries: readonly UsageEntry[]): Promise<void> {
    return this.#faults.call("sessions.addUsage", undefined, () => {
      const { usage } = this.#tables;
      for (const { sessionId, executions, cpu } of entries) {
        usage.set(sessionId, (usage.get(sessionId) ?? 0) + executions);
        if (cpu !== undefined) usage.set(cpu.vmId, Math.max(usage.get(cpu.vmId) ?? 0, cpu.totalMs));
      }
    });
  }

  usage(sessionId: SessionId): Promise<RecordedUsage> {
    return this.#faults.call("sessions.usage", undefined, () => {
      const { usage, vms } = this.#tables;
      const own = [...vms.values()].filter((vm) => vm.sessionId === sessionId);
      return {
        executions: usage.get(sessionId) ?? 0,
        vms: own.map((vm) => ({ ...vm, cpuMs: usage.get(vm.vmId) ?? 0 })),
      };
    });
  }

  #withVm(session: SessionRecord): SessionWithVm {
    return { session, vm: session.vmId === undefined ? undefined : this.#tables.vms.get(session.vmId) };
  }

  #existing(sessionId: SessionId): SessionRecord {
    const session = this.#tables.sessions.get(sessionId);
    if (session === undefined) throw new InstaVmError("session_not_found", `session ${sessionId} has no record`);
    return session;
  }
}

class MemoryVms implements VmRecords {
  readonly #tables: RecordTables;
  readonly #faults: Faults;

  constructor(tables: RecordTables, faults: Faults) {
    this.#tables = tables;
    this.#faults = faults;
  }

  find(vmId: VmId): Promise<VmRecord | undefined> {
    return this.#faults.call("vms.find", undefined, () => this.#tables.vms.get(vmId));
  }

  findOwn(vmId: VmId, keyId: KeyId): Promise<VmWithSession | undefined> {
    return this.#faults.call("vms.findOwn", undefined, () => this.#own(keyId).find(({ vm }) => vm.vmId === vmId));
  }

  listByKey(keyId: KeyId, { limit, liveOnly = false }: ListOptions): Promise<readonly VmWithSession[]> {
    return this.#faults.call("vms.listByKey", undefined, () =>
      this.#own(keyId)
        .filter(({ vm }) => !(liveOnly && vm.endedAtMs !== undefined))
        .toReversed()
        .slice(0, limit),
    );
  }

  #own(keyId: KeyId): readonly VmWithSession[] {
    const { vms, sessions } = this.#tables;
    return [...vms.values()].flatMap((vm) => {
      const session = sessions.get(vm.sessionId);
      return session?.keyId === keyId ? [{ vm, session }] : [];
    });
  }

  listLive(): Promise<readonly VmRecord[]> {
    return this.#faults.call("vms.listLive", undefined, () =>
      [...this.#tables.vms.values()].filter(({ status }) => status !== "terminated" && status !== "failed"),
    );
  }

  async setStatus(vmId: VmId, status: VmStatus, ...[atMs, reason]: [number, string?]): Promise<void> {
    await this.#faults.call("vms.setStatus", undefined, () => {
      const vm = this.#tables.vms.get(vmId);
      if (vm === undefined) throw new InstaVmError("internal", `VM ${vmId} has no record`);
      if (!canBecome(vm.status, status)) throw new InstaVmError("internal", `${vm.status} cannot become ${status}`);
      const hasEnded = status === "terminated" || status === "failed";
      this.#tables.vms.set(vmId, { ...vm, status, endedAtMs: hasEnded ? atMs : undefined, endReason: reason });
    });
  }
}

class MemoryKeys implements KeyRecords {
  readonly #all: KeyRecord[];

  constructor(tables: RecordTables) {
    this.#all = tables.keys;
  }

  async insert(key: Omit<KeyRecord, "keyId" | "lastUsedAtMs">): Promise<KeyRecord> {
    const record = { ...key, keyId: keyIdSchema.parse(this.#all.length + 1), lastUsedAtMs: undefined };
    this.#all.push(record);
    return record;
  }

  async findByHash(hash: string): Promise<KeyRecord | undefined> {
    return this.#all.find((key) => key.hash === hash);
  }

  async find(keyId: KeyId): Promise<KeyRecord | undefined> {
    return this.#all.find((key) => key.keyId === keyId);
  }

  async list(): Promise<readonly KeyRecord[]> {
    return [...this.#all];
  }

  async describe(keyId: KeyId, label: string): Promise<void> {
    this.#change(keyId, { label });
  }

  async revoke(keyId: KeyId, atMs: number): Promise<void> {
    const key = await this.find(keyId);
    this.#change(keyId, { revokedAtMs: key?.revokedAtMs ?? atMs });
  }

  async used(uses: readonly { readonly keyId: KeyId; readonly atMs: number }[]): Promise<void> {
    for (const { keyId, atMs } of uses) this.#change(keyId, { lastUsedAtMs: atMs });
  }

  #change(keyId: KeyId, change: Partial<KeyRecord>): void {
    const index = this.#all.findIndex((key) => key.keyId === keyId);
    const key = this.#all[index];
    if (key === undefined) throw new InstaVmError("key_not_found", `There is no API key with id ${keyId}.`);
    this.#all[index] = { ...key, ...change };
  }
}

class MemoryExecutions implements ExecutionRecords {
  readonly #all: RecordTables["executions"];
  readonly #faults: Faults;

  constructor(tables: RecordTables, faults: Faults) {
    this.#all = tables.executions;
    this.#faults = faults;
  }

  insert(record: ExecutionRecord): Promise<void> {
    return this.#faults.call("executions.insert", undefined, () => {
      this.#all.set(record.executionId, { ...record, stdout: new Uint8Array(), stderr: new Uint8Array() });
    });
  }

  finish(record: ExecutionRecord, output: ExecutionOutput): Promise<void> {
    return this.#faults.call("executions.finish", undefined, () => {
      if (this.#all.get(record.executionId)?.endedAtMs === undefined) {
        this.#all.set(record.executionId, { ...record, ...output });
      }
    });
  }

  findOwn(executionId: ExecutionId, keyId: KeyId): Promise<(ExecutionRecord & ExecutionOutput) | undefined> {
    return this.#faults.call("executions.findOwn", undefined, () => {
      const found = this.#all.get(executionId);
      return found?.keyId === keyId ? found : undefined;
    });
  }

  listByKey(keyId: KeyId, { limit, sessionId }: ExecutionFilter): Promise<readonly ExecutionRecord[]> {
    return this.#faults.call("executions.listByKey", undefined, () =>
      [...this.#all.values()]
        .filter((each) => each.keyId === keyId && (sessionId === undefined || each.sessionId === sessionId))
        .toReversed()
        .slice(0, limit),
    );
  }

  loseRunning(atMs: number, reason: string): Promise<number> {
    return this.#faults.call("executions.loseRunning", undefined, () => {
      const running = [...this.#all.values()].filter(({ endedAtMs }) => endedAtMs === undefined);
      for (const each of running) {
        this.#all.set(each.executionId, { ...each, status: "lost", endedAtMs: atMs, reason });
      }
      return running.length;
    });
  }

  prune(keyId: KeyId, { keep, beforeMs }: { readonly keep: number; readonly beforeMs: number }): Promise<void> {
    return this.#faults.call("executions.prune", undefined, () => {
      const own = [...this.#all.values()].filter((each) => each.keyId === keyId).toReversed();
      for (const [index, { executionId, endedAtMs }] of own.entries()) {
        if (endedAtMs !== undefined && (index >= keep || endedAtMs < beforeMs)) this.#all.delete(executionId);
      }
    });
  }
}

class MemoryAnswers implements AnswerRecords {
  readonly #answers: RecordTables["answers"];
  readonly #faults: Faults;

  constructor({ answers }: RecordTables, faults: Faults) {
    this.#answers = answers;
    this.#faults = faults;
  }

  find(keyId: KeyId, idempotencyKey: string): Promise<AnswerRecord | undefined> {
    return this.#faults.call("answers.find", undefined, () => this.#answers.get(`${keyId} ${idempotencyKey}`));
  }

  insert(record: AnswerRecord): Promise<void> {
    return this.#faults.call("answers.insert", undefined, () => {
      this.#answers.set(`${record.keyId} ${record.idempotencyKey}`, record);
    });
  }

  prune(keyId: KeyId, { keep, beforeMs }: { readonly keep: number; readonly beforeMs: number }): Promise<void> {
    return this.#faults.call("answers.prune", undefined, () => {
      const newest = [...this.#answers].toSorted(([, one], [, other]) => other.createdAtMs - one.createdAtMs);
      const own = newest.filter(([, record]) => record.keyId === keyId);
      const old = newest.filter(([, record]) => record.createdAtMs < beforeMs);
      for (const [name] of [...own.slice(keep), ...old]) this.#answers.delete(name);
    });
  }
}
