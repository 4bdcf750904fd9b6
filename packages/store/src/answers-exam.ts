import { randomUUID } from "node:crypto";
import type { KeyId } from "@instavm/contract";
import type { AnswerRecord, Records } from "@instavm/core";
import { expect, it } from "vitest";

/** What is asked of the answers of any database; part of the exam of all records. */
export function answersExam(open: () => Promise<Records & AsyncDisposable>, newKey: NewKey): void {
  it("keeps an answer under its name, for its own key only", async () => {
    await using records = await open();
    const [own, other] = [await newKey(records), await newKey(records)];
    const answer = answerOf(own);
    await records.answers.insert(answer);
    expect(await records.answers.find(own, answer.idempotencyKey)).toEqual(answer);
    expect(await records.answers.find(own, answer.idempotencyKey.toUpperCase())).toBeUndefined();
    expect(await records.answers.find(other, answer.idempotencyKey)).toBeUndefined();
  });

  it("lets a later answer take the place of one with the same name", async () => {
    await using records = await open();
    const first = answerOf(await newKey(records));
    const second = { ...first, requestHash: "another", answer: "[]", createdAtMs: 2000 };
    await records.answers.insert(first);
    await records.answers.insert(second);
    expect(await records.answers.find(first.keyId, first.idempotencyKey)).toEqual(second);
  });

  it("forgets old answers of all keys, and one key's beyond the number that is kept", async () => {
    await using records = await open();
    const [busy, quiet] = [await newKey(records), await newKey(records)];
    const ofBusy = [1, 2, 3, 4].map((atMs) => answerOf(busy, atMs * 100));
    const ofQuiet = [answerOf(quiet, 50), answerOf(quiet, 150)];
    for (const answer of [...ofBusy, ...ofQuiet]) await records.answers.insert(answer);
    await records.answers.prune(busy, { keep: 2, beforeMs: 100 });
    const left = await Promise.all(
      [...ofBusy, ...ofQuiet].map(({ keyId, idempotencyKey }) => records.answers.find(keyId, idempotencyKey)),
    );
    expect(left.map((record) => record?.createdAtMs)).toEqual([undefined, undefined, 300, 400, undefined, 150]);
  });
}

/** Makes an API key. */
export type NewKey = (records: Records) => Promise<KeyId>;

function answerOf(keyId: KeyId, createdAtMs = 1000): AnswerRecord {
  return { keyId, idempotencyKey: `a name ${randomUUID()}`, requestHash: "hash", answer: '{"a":"ü"}', createdAtMs };
}
