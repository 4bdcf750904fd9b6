import { InstaVmError, type KeyId, keyIdSchema, type SessionId, type VmId } from "@instavm/contract";
import {
  canBecome,
  type KeyRecord,
  type KeyRecords,
  type Records,
  type SessionRecord,
  type SessionRecords,
  type VmRecord,
  type VmRecords,
  type VmStatus,
} from "@instavm/core";
import type { Faults } from "../faults.ts";

/** What a database holds. It outlives every server that opens it. */
export class RecordTables {
  readonly sessions = new Map<SessionId, SessionRecord>();
  readonly vms = new Map<VmId, VmRecord>();
  readonly keys: KeyRecord[] = [];
}

/** One server's way to its records. */
export function openMemoryRecords(tables: RecordTables, faults: Faults): Records {
  return {
    sessions: new MemorySessions(tables, faults),
    vms: new MemoryVms(tables, faults),
    keys: new MemoryKeys(tables),
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

  find(sessionId: SessionId): Promise<SessionRecord | undefined> {
    return this.#faults.call("sessions.find", undefined, () => this.#tables.sessions.get(sessionId));
  }

  listByKey(keyId: KeyId, limit: number): Promise<readonly SessionRecord[]> {
    return this.#faults.call("sessions.listByKey", undefined, () =>
      [...this.#tables.sessions.values()]
        .filter((session) => session.keyId === keyId)
        .toReversed()
        .slice(0, limit),
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

  async insert(key: Omit<KeyRecord, "keyId">): Promise<KeyRecord> {
    const record = { ...key, keyId: keyIdSchema.parse(this.#all.length + 1) };
    this.#all.push(record);
    return record;
  }

  async findByHash(hash: string): Promise<KeyRecord | undefined> {
    return this.#all.find((key) => key.hash === hash);
  }

  async list(): Promise<readonly KeyRecord[]> {
    return [...this.#all];
  }

  async revoke(keyId: KeyId, atMs: number): Promise<void> {
    const index = this.#all.findIndex((key) => key.keyId === keyId);
    const key = this.#all[index];
    if (key !== undefined) this.#all[index] = { ...key, revokedAtMs: atMs };
  }
}
