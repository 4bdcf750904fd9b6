import { randomBytes, randomUUID } from "node:crypto";
import { executionIdSchema, type KeyId, type SessionId } from "@instavm/contract";
import type { ExecutionRecord, Records } from "@instavm/core";
import { expect, it } from "vitest";

const textOf = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();
const output = { stdout: Uint8Array.of(0x61, 0, 0xff), stderr: Buffer.from("oops") };

/** What is asked of execution records of any database; part of the exam of all records. */
export function executionsExam(open: () => Promise<Records & AsyncDisposable>, newOwner: NewOwner): void {
  it("keeps an execution, and its output once it has ended", async () => {
    await using records = await open();
    const running = executionOf(await newOwner(records));
    await records.executions.insert(running);
    const { executionId, keyId } = running;
    expect(await records.executions.findOwn(executionId, keyId)).toMatchObject({ ...running, stdout: { length: 0 } });
    const ended = endedOf(running);
    await records.executions.finish(ended, output);
    const found = await records.executions.findOwn(executionId, keyId);
    expect(found).toMatchObject(ended);
    expect([...(found?.stdout ?? [])]).toEqual([0x61, 0, 0xff]);
    expect(textOf(found?.stderr)).toBe("oops");
    expect(await records.executions.listByKey(keyId, { limit: 10 })).toEqual([ended]);
  });

  it("shows an execution to its own key only", async () => {
    await using records = await open();
    const [own, other] = [await newOwner(records), await newOwner(records)];
    const execution = executionOf(own);
    await records.executions.insert(execution);
    expect(await records.executions.findOwn(execution.executionId, other.keyId)).toBeUndefined();
    expect(await records.executions.listByKey(other.keyId, { limit: 10 })).toEqual([]);
  });

  it("lists the newest first, of one session when asked", async () => {
    await using records = await open();
    const owner = await newOwner(records);
    const { keyId } = owner;
    const [first, second, third] = [1, 2, 3].map((atMs) => executionOf(owner, { createdAtMs: atMs }));
    for (const each of [second, third, first]) if (each !== undefined) await records.executions.insert(each);
    expect(await records.executions.listByKey(keyId, { limit: 2 })).toEqual([third, second]);
    const { sessionId } = await newOwner(records);
    expect(await records.executions.listByKey(keyId, { limit: 2, sessionId })).toEqual([]);
  });

  it("loses what runs, and nothing that has ended", async () => {
    await using records = await open();
    const owner = await newOwner(records);
    const [running, ended] = [executionOf(owner), executionOf(owner)];
    for (const each of [running, ended]) await records.executions.insert(each);
    await records.executions.finish(endedOf(ended), output);
    expect(await records.executions.loseRunning(9000, "the server stopped")).toBe(1);
    expect(await records.executions.loseRunning(9000, "the server stopped")).toBe(0);
    const lost = await records.executions.findOwn(running.executionId, owner.keyId);
    expect(lost).toMatchObject({ status: "lost", endedAtMs: 9000, reason: "the server stopped" });
    await records.executions.finish(endedOf(running), output);
    expect(await records.executions.findOwn(running.executionId, owner.keyId)).toMatchObject({ status: "lost" });
  });

  it("forgets old ones and those beyond the number that is kept, never one that runs", async () => {
    await using records = await open();
    const owner = await newOwner(records);
    const all = [1, 2, 3, 4].map((atMs) => executionOf(owner, { createdAtMs: atMs }));
    for (const each of all) await records.executions.insert(each);
    for (const each of all.slice(1)) await records.executions.finish(endedOf(each, each.createdAtMs + 100), output);
    const left = async (keep: number, beforeMs: number): Promise<readonly number[]> => {
      await records.executions.prune(owner.keyId, { keep, beforeMs });
      const found = await records.executions.listByKey(owner.keyId, { limit: 10 });
      return found.map(({ createdAtMs }) => createdAtMs);
    };
    expect(await left(2, 0)).toEqual([4, 3, 1]);
    expect(await left(10, 104)).toEqual([4, 1]);
  });
}

/** Makes a key with a session. */
export type NewOwner = (records: Records) => Promise<{ readonly keyId: KeyId; readonly sessionId: SessionId }>;

function executionOf(
  owner: { readonly keyId: KeyId; readonly sessionId: SessionId },
  over: Partial<ExecutionRecord> = {},
): ExecutionRecord {
  return {
    executionId: executionIdSchema.parse(randomUUID()),
    keyId: owner.keyId,
    sessionId: owner.sessionId,
    vmId: undefined,
    language: "python",
    status: "running",
    createdAtMs: 1000 + randomBytes(1).readUInt8(),
    endedAtMs: undefined,
    exitCode: undefined,
    timedOut: false,
    truncated: false,
    cpuMs: 0,
    wallMs: 0,
    reason: undefined,
    ...over,
  };
}

function endedOf(running: ExecutionRecord, endedAtMs = 5000): ExecutionRecord {
  return { ...running, status: "completed", endedAtMs, exitCode: 3, truncated: true, cpuMs: 1.25, wallMs: 10.5 };
}
