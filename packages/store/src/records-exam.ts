import { randomBytes, randomUUID } from "node:crypto";
import { InstaVmError, keyIdSchema, sessionIdSchema, vmIdSchema } from "@instavm/contract";
import type { KeyRecord, Records, SessionRecord, UsageEntry, VmRecord } from "@instavm/core";
import { describe, expect, it } from "vitest";
import { answersExam } from "./answers-exam.ts";
import { executionsExam } from "./executions-exam.ts";

/** Opens empty records that belong to one test. */
export type OpenRecords = () => Promise<Records & AsyncDisposable>;

const newSessionId = () => sessionIdSchema.parse(randomUUID());
const newVmId = () => vmIdSchema.parse(`v${randomBytes(10).toString("hex").slice(0, 19)}`);
const shape = { vcpuCount: 2, memoryMib: 512 } as const;

const insertKey = (records: Records): Promise<KeyRecord> =>
  records.keys.insert({
    role: "user",
    label: "exam",
    hash: randomBytes(32).toString("hex"),
    createdAtMs: 1000,
    revokedAtMs: undefined,
  });

const sessionOf = (key: Pick<KeyRecord, "keyId">, over: Partial<SessionRecord> = {}): SessionRecord => ({
  sessionId: newSessionId(),
  keyId: key.keyId,
  name: undefined,
  shape,
  env: { GREETING: "grüß dich" },
  metadata: { team: "blue", tags: [1, "two", null] },
  lifetimeS: 300,
  createdAtMs: 1_767_225_600_000,
  expiresAtMs: 1_767_225_900_000,
  vmId: undefined,
  endedAtMs: undefined,
  endReason: undefined,
  ...over,
});

const vmOf = (session: SessionRecord, over: Partial<VmRecord> = {}): VmRecord => ({
  vmId: newVmId(),
  sessionId: session.sessionId,
  status: "active",
  start: "clone",
  forkedFrom: undefined,
  shape,
  createdAtMs: 1_767_225_600_500,
  endedAtMs: undefined,
  endReason: undefined,
  ...over,
});

/** A session that has a live VM. */
const insertBoth = async (records: Records): Promise<{ session: SessionRecord; vm: VmRecord }> => {
  const bare = sessionOf(await insertKey(records));
  const vm = vmOf(bare);
  const session = { ...bare, vmId: vm.vmId };
  await records.sessions.insert(session, vm);
  return { session, vm };
};

const codeOf = async (work: Promise<unknown>): Promise<string> => {
  const error: unknown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return error instanceof InstaVmError ? error.code : `no InstaVmError but ${String(error)}`;
};

/** What every store of records must do, whatever its database. */
export function recordsExam(name: string, open: OpenRecords): void {
  describe(`records in ${name}`, () => {
    describe("sessions", () => {
      sessionsChapter(open);
    });
    describe("a session's VMs", () => {
      assignChapter(open);
    });
    describe("VMs", () => {
      vmsChapter(open);
    });
    describe("executions", () => {
      executionsExam(open, async (records) => {
        const { session } = await insertBoth(records);
        return session;
      });
    });
    describe("answers", () => {
      answersExam(open, async (records) => (await insertKey(records)).keyId);
    });
    describe("keys", () => {
      keysChapter(open);
    });
    describe("what is a key's own", () => {
      ownChapter(open);
    });
    describe("usage", () => {
      usageChapter(open);
    });
  });
}

function sessionsChapter(open: OpenRecords): void {
  it("gives back a session without a VM as it was inserted", async () => {
    await using records = await open();
    const session = sessionOf(await insertKey(records));
    await records.sessions.insert(session);
    expect(await records.sessions.find(session.sessionId)).toEqual(session);
    expect(await records.vms.listLive()).toEqual([]);
  });

  it("gives back a session with its VM as both were inserted", async () => {
    await using records = await open();
    const { session, vm } = await insertBoth(records);
    expect(await records.sessions.find(session.sessionId)).toEqual(session);
    expect(await records.vms.find(vm.vmId)).toEqual(vm);
  });

  it("keeps text as it is: quotes, SQL, every plane of Unicode, an empty environment", async () => {
    await using records = await open();
    const odd = `'; drop table sessions; -- "\\ \u{1F600} \n\t`;
    const session = sessionOf(await insertKey(records), { env: { [odd]: odd }, metadata: { [odd]: { deep: [odd] } } });
    const bare = sessionOf(await insertKey(records), { env: {}, metadata: {} });
    await records.sessions.insert(session);
    await records.sessions.insert(bare);
    expect(await records.sessions.find(session.sessionId)).toEqual(session);
    expect(await records.sessions.find(bare.sessionId)).toEqual(bare);
  });

  it("inserts both or none: a VM that is there already keeps the new session out", async () => {
    await using records = await open();
    const { vm } = await insertBoth(records);
    const second = sessionOf(await insertKey(records), { vmId: vm.vmId });
    expect(await codeOf(records.sessions.insert(second, { ...vm, sessionId: second.sessionId }))).toBe("conflict");
    expect(await records.sessions.find(second.sessionId)).toBeUndefined();
  });

  it("inserts many sessions with their VMs, all or none, and knows whose copies they are", async () => {
    await using records = await open();
    const { session: source, vm: parent } = await insertBoth(records);
    const fork = () => {
      const session = sessionOf(source);
      const vm = vmOf(session, { start: "fork", forkedFrom: parent.vmId });
      return { session: { ...session, vmId: vm.vmId }, vm };
    };
    const entries = [fork(), fork(), fork()];
    await records.sessions.insertAll(entries);
    for (const { session, vm } of entries) {
      expect(await records.sessions.findOwn(session.sessionId, source.keyId)).toEqual({ session, vm });
    }
    const [taken] = entries;
    const more = [fork(), fork()];
    expect(await codeOf(records.sessions.insertAll([...more, ...(taken === undefined ? [] : [taken])]))).toBe(
      "conflict",
    );
    for (const { session, vm } of more) {
      expect(await records.sessions.find(session.sessionId)).toBeUndefined();
      expect(await records.vms.find(vm.vmId)).toBeUndefined();
    }
  });

  it("refuses a session id that is taken, a key and a VM that do not exist", async () => {
    await using records = await open();
    const { session, vm } = await insertBoth(records);
    expect(await codeOf(records.sessions.insert({ ...session, vmId: undefined }))).toBe("conflict");
    const noKey = { ...sessionOf(await insertKey(records)), keyId: keyIdSchema.parse(4711) };
    expect(await codeOf(records.sessions.insert(noKey))).toBe("conflict");
    const noVm = sessionOf(await insertKey(records), { vmId: newVmId() });
    expect(await codeOf(records.sessions.insert(noVm))).toBe("conflict");
    const other = sessionOf(await insertKey(records));
    expect(await codeOf(records.sessions.insert(other, vmOf(session, { vmId: newVmId() })))).toBe("conflict");
    expect(await records.vms.listLive()).toEqual([vm]);
  });

  it("finds nothing under an unknown id", async () => {
    await using records = await open();
    expect(await records.sessions.find(newSessionId())).toBeUndefined();
  });

  it("lists a key's own sessions, newest first, up to the limit", async () => {
    await using records = await open();
    const key = await insertKey(records);
    const sessions = [5, 1, 3, 2, 4].map((createdAtMs) => sessionOf(key, { createdAtMs }));
    for (const session of sessions) await records.sessions.insert(session);
    await records.sessions.insert(sessionOf(await insertKey(records)));
    const listed = await records.sessions.listByKey(key.keyId, { limit: 3 });
    expect(listed.map(({ session }) => session.createdAtMs)).toEqual([5, 4, 3]);
    expect(await records.sessions.listByKey(key.keyId, { limit: 100 })).toHaveLength(5);
  });

  it("ends a session once: the first reason and time stay", async () => {
    await using records = await open();
    const { session } = await insertBoth(records);
    await records.sessions.end(session.sessionId, "killed", 2000);
    await records.sessions.end(session.sessionId, "expired", 3000);
    expect(await records.sessions.find(session.sessionId)).toEqual({
      ...session,
      endedAtMs: 2000,
      endReason: "killed",
    });
    expect(await records.sessions.listLive()).toEqual([]);
  });

  it("says that an unknown session cannot be ended", async () => {
    await using records = await open();
    expect(await codeOf(records.sessions.end(newSessionId(), "killed", 1))).toBe("session_not_found");
  });

  it("lists live sessions and no ended ones", async () => {
    await using records = await open();
    const key = await insertKey(records);
    const [first, second] = [sessionOf(key), sessionOf(key)];
    await records.sessions.insert(first);
    await records.sessions.insert(second);
    await records.sessions.end(first.sessionId, "expired", 2000);
    expect(await records.sessions.listLive()).toEqual([second]);
  });

  it("serves many callers at once, each transaction whole", async () => {
    await using records = await open();
    const key = await insertKey(records);
    const both = Array.from({ length: 100 }, () => {
      const session = sessionOf(key);
      const vm = vmOf(session);
      return { session: { ...session, vmId: vm.vmId }, vm };
    });
    await Promise.all(both.map(({ session, vm }) => records.sessions.insert(session, vm)));
    await Promise.all(both.slice(50).map(({ vm }) => records.vms.setStatus(vm.vmId, "terminated", 5)));
    expect(await records.sessions.listLive()).toHaveLength(100);
    expect(await records.vms.listLive()).toHaveLength(50);
  });
}

function assignChapter(open: OpenRecords): void {
  it("gives a session its first VM", async () => {
    await using records = await open();
    const session = sessionOf(await insertKey(records));
    await records.sessions.insert(session);
    const vm = vmOf(session, { start: "pool" });
    await records.sessions.assign(session.sessionId, vm);
    expect(await records.sessions.find(session.sessionId)).toEqual({ ...session, vmId: vm.vmId });
    expect(await records.vms.listLive()).toEqual([vm]);
  });

  it("gives a session a new VM after its last one ended, and keeps the old record", async () => {
    await using records = await open();
    const { session, vm } = await insertBoth(records);
    await records.vms.setStatus(vm.vmId, "failed", 2000, "its process was killed");
    const next = vmOf(session, { start: "boot" });
    await records.sessions.assign(session.sessionId, next);
    expect(await records.vms.find(vm.vmId)).toEqual({
      ...vm,
      status: "failed",
      endedAtMs: 2000,
      endReason: "its process was killed",
    });
    expect((await records.sessions.find(session.sessionId))?.vmId).toBe(next.vmId);
  });

  it("ends the record of a VM that is replaced while it counts as live: a session has one live VM", async () => {
    await using records = await open();
    const { session, vm } = await insertBoth(records);
    const next = vmOf(session, { createdAtMs: 1_767_225_700_000 });
    await records.sessions.assign(session.sessionId, next);
    expect(await records.vms.listLive()).toEqual([next]);
    expect(await records.vms.find(vm.vmId)).toMatchObject({ status: "failed", endedAtMs: 1_767_225_700_000 });
  });

  it("gives no VM to a session that has ended, is unknown, or is another's", async () => {
    await using records = await open();
    const { session, vm } = await insertBoth(records);
    const stranger = sessionOf(await insertKey(records));
    expect(await codeOf(records.sessions.assign(stranger.sessionId, vmOf(stranger)))).toBe("session_not_found");
    expect(await codeOf(records.sessions.assign(session.sessionId, vmOf(stranger)))).toBe("conflict");
    await records.sessions.end(session.sessionId, "killed", 2000);
    expect(await codeOf(records.sessions.assign(session.sessionId, vmOf(session)))).toBe("conflict");
    expect(await records.vms.listLive()).toEqual([vm]);
  });
}

function vmsChapter(open: OpenRecords): void {
  it("walks a VM through its states and keeps when and why it ended", async () => {
    await using records = await open();
    const { vm } = await insertBoth(records);
    for (const status of ["suspending", "suspended", "resuming", "active"] as const) {
      await records.vms.setStatus(vm.vmId, status, 1500);
      expect(await records.vms.find(vm.vmId)).toEqual({ ...vm, status });
    }
    await records.vms.setStatus(vm.vmId, "terminated", 2000, "killed by its owner");
    expect(await records.vms.find(vm.vmId)).toEqual({
      ...vm,
      status: "terminated",
      endedAtMs: 2000,
      endReason: "killed by its owner",
    });
    expect(await records.vms.listLive()).toEqual([]);
  });

  it("refuses a step that the table of states does not have, and changes nothing", async () => {
    await using records = await open();
    const { vm } = await insertBoth(records);
    expect(await codeOf(records.vms.setStatus(vm.vmId, "suspended", 2000))).toBe("conflict");
    expect(await codeOf(records.vms.setStatus(vm.vmId, "creating", 2000))).toBe("conflict");
    expect(await records.vms.find(vm.vmId)).toEqual(vm);
    await records.vms.setStatus(vm.vmId, "terminated", 2000, "first");
    expect(await codeOf(records.vms.setStatus(vm.vmId, "failed", 3000, "second"))).toBe("conflict");
    expect(await codeOf(records.vms.setStatus(vm.vmId, "terminated", 3000, "again"))).toBe("conflict");
    expect(await records.vms.find(vm.vmId)).toMatchObject({
      status: "terminated",
      endedAtMs: 2000,
      endReason: "first",
    });
  });

  it("keeps an end without a reason", async () => {
    await using records = await open();
    const { vm } = await insertBoth(records);
    await records.vms.setStatus(vm.vmId, "failed", 2000);
    expect(await records.vms.find(vm.vmId)).toEqual({ ...vm, status: "failed", endedAtMs: 2000 });
  });

  it("finds no unknown VM and cannot change it", async () => {
    await using records = await open();
    const vmId = newVmId();
    expect(await records.vms.find(vmId)).toBeUndefined();
    expect(await codeOf(records.vms.setStatus(vmId, "failed", 1))).toBe("vm_not_found");
  });
}

function keysChapter(open: OpenRecords): void {
  it("numbers keys from 1 and finds them by their hash", async () => {
    await using records = await open();
    const [first, second] = [await insertKey(records), await insertKey(records)];
    expect([first.keyId, second.keyId]).toEqual([1, 2]);
    expect(await records.keys.findByHash(second.hash)).toEqual(second);
    expect(await records.keys.findByHash("0".repeat(64))).toBeUndefined();
    expect(await records.keys.list()).toEqual([first, second]);
  });

  it("refuses a hash that is there already", async () => {
    await using records = await open();
    const { keyId: _, lastUsedAtMs: __, ...key } = await insertKey(records);
    expect(await codeOf(records.keys.insert(key))).toBe("conflict");
  });

  it("revokes a key once: the first time stays, and the key can still be found", async () => {
    await using records = await open();
    const key = await insertKey(records);
    await records.keys.revoke(key.keyId, 2000);
    await records.keys.revoke(key.keyId, 3000);
    expect(await records.keys.findByHash(key.hash)).toEqual({ ...key, revokedAtMs: 2000 });
  });

  it("describes a key anew and finds it by its id", async () => {
    await using records = await open();
    const key = await insertKey(records);
    await records.keys.describe(key.keyId, "nightly");
    expect(await records.keys.find(key.keyId)).toEqual({ ...key, label: "nightly" });
    const unknown = keyIdSchema.parse(4711);
    expect(await records.keys.find(unknown)).toBeUndefined();
    expect(await codeOf(records.keys.describe(unknown, "x"))).toBe("key_not_found");
  });

  it("keeps when keys were used last, whatever order that is written in", async () => {
    await using records = await open();
    const [first, second] = [await insertKey(records), await insertKey(records)];
    expect(first.lastUsedAtMs).toBeUndefined();
    await records.keys.used([
      { keyId: first.keyId, atMs: 2000 },
      { keyId: keyIdSchema.parse(4711), atMs: 2000 },
    ]);
    await records.keys.used([{ keyId: first.keyId, atMs: 1500 }]);
    expect(await records.keys.list()).toEqual([{ ...first, lastUsedAtMs: 2000 }, second]);
  });

  it("says that an unknown key cannot be revoked", async () => {
    await using records = await open();
    expect(await codeOf(records.keys.revoke(keyIdSchema.parse(4711), 1))).toBe("key_not_found");
  });
}

function ownChapter(open: OpenRecords): void {
  it("is found with what belongs to it; another key's is not there", async () => {
    await using records = await open();
    const { session, vm } = await insertBoth(records);
    const stranger = await insertKey(records);
    expect(await records.sessions.findOwn(session.sessionId, session.keyId)).toEqual({ session, vm });
    expect(await records.sessions.findOwn(session.sessionId, stranger.keyId)).toBeUndefined();
    expect(await records.sessions.findOwn(newSessionId(), session.keyId)).toBeUndefined();
    expect(await records.sessions.find(session.sessionId, session.keyId)).toEqual(session);
    expect(await records.sessions.find(session.sessionId, stranger.keyId)).toBeUndefined();
    const { sessionId, name, metadata, lifetimeS, expiresAtMs } = session;
    expect(await records.vms.findOwn(vm.vmId, session.keyId)).toMatchObject({
      vm,
      session: { sessionId, name, metadata, lifetimeS, expiresAtMs },
    });
    expect(await records.vms.findOwn(vm.vmId, stranger.keyId)).toBeUndefined();
    expect(await records.vms.findOwn(newVmId(), session.keyId)).toBeUndefined();
  });

  it("finds a session that has no VM, and one whose VM has ended", async () => {
    await using records = await open();
    const bare = sessionOf(await insertKey(records), { name: "worker" });
    await records.sessions.insert(bare);
    expect(await records.sessions.findOwn(bare.sessionId, bare.keyId)).toEqual({ session: bare, vm: undefined });
    const { session, vm } = await insertBoth(records);
    await records.vms.setStatus(vm.vmId, "failed", 2000, "its process ended");
    expect(await records.sessions.findOwn(session.sessionId, session.keyId)).toMatchObject({
      vm: { status: "failed", endedAtMs: 2000, endReason: "its process ended" },
    });
  });

  it("is listed newest first, all of it or what lives, up to the limit", async () => {
    await using records = await open();
    const key = await insertKey(records);
    const made: { session: SessionRecord; vm: VmRecord }[] = [];
    for (const createdAtMs of [1000, 2000, 3000, 4000]) {
      const bare = sessionOf(key, { createdAtMs });
      const vm = vmOf(bare, { createdAtMs });
      const session = { ...bare, vmId: vm.vmId };
      await records.sessions.insert(session, vm);
      made.unshift({ session, vm });
    }
    await insertBoth(records);
    const [, dead] = made;
    if (dead === undefined) throw new Error("four were made");
    await records.vms.setStatus(dead.vm.vmId, "terminated", 5000);
    await records.sessions.end(dead.session.sessionId, "killed", 5000);
    const live = made.filter((one) => one !== dead);
    expect(await records.sessions.listByKey(key.keyId, { limit: 10, liveOnly: true })).toEqual(live);
    const vmIds = async (limit: number, liveOnly: boolean): Promise<readonly string[]> =>
      (await records.vms.listByKey(key.keyId, { limit, liveOnly })).map(({ vm }) => vm.vmId);
    expect(await vmIds(10, false)).toEqual(made.map(({ vm }) => vm.vmId));
    expect(await vmIds(10, true)).toEqual(live.map(({ vm }) => vm.vmId));
    expect(await vmIds(2, true)).toEqual(live.slice(0, 2).map(({ vm }) => vm.vmId));
  });

  it("changes in the fields that are given, while the session lives", async () => {
    await using records = await open();
    const { session } = await insertBoth(records);
    const { sessionId } = session;
    await records.sessions.change(sessionId, { name: "a", metadata: { x: [1] } });
    await records.sessions.change(sessionId, { lifetime: { lifetimeS: 900, expiresAtMs: 9000 } });
    const changed = { ...session, name: "a", metadata: { x: [1] }, lifetimeS: 900, expiresAtMs: 9000 };
    expect(await records.sessions.find(sessionId)).toEqual(changed);
    await records.sessions.change(sessionId, {});
    await records.sessions.change(sessionId, { name: null });
    expect(await records.sessions.find(sessionId)).toEqual({ ...changed, name: undefined });
    await records.sessions.end(sessionId, "killed", 2000);
    expect(await codeOf(records.sessions.change(sessionId, { name: "late" }))).toBe("session_not_found");
    expect(await codeOf(records.sessions.change(newSessionId(), { name: "x" }))).toBe("session_not_found");
  });
}

function usageChapter(open: OpenRecords): void {
  it("adds executions up, and keeps each VM's largest CPU time", async () => {
    await using records = await open();
    const { session, vm } = await insertBoth(records);
    const { sessionId } = session;
    const cpu = (totalMs: number): UsageEntry["cpu"] => ({ vmId: vm.vmId, totalMs });
    await records.sessions.addUsage([
      { sessionId, executions: 2, cpu: cpu(300) },
      { sessionId: newSessionId(), executions: 1, cpu: undefined },
    ]);
    await records.sessions.addUsage([{ sessionId, executions: 1, cpu: cpu(200) }]);
    await records.vms.setStatus(vm.vmId, "failed", 1_767_225_700_000);
    const next = vmOf(session);
    await records.sessions.assign(sessionId, next);
    await records.sessions.addUsage([{ sessionId, executions: 0, cpu: { vmId: next.vmId, totalMs: 50 } }]);
    const { executions, vms } = await records.sessions.usage(sessionId);
    expect(executions).toBe(3);
    expect(new Map(vms.map((one) => [one.vmId, [one.cpuMs, one.shape, one.endedAtMs]]))).toEqual(
      new Map([
        [vm.vmId, [300, shape, 1_767_225_700_000]],
        [next.vmId, [50, shape, undefined]],
      ]),
    );
  });

  it("is nothing for a session that there is not", async () => {
    await using records = await open();
    expect(await records.sessions.usage(newSessionId())).toEqual({ executions: 0, vms: [] });
  });
}
