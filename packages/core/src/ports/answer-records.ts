import type { KeyId } from "@instavm/contract";

/** The answer to a request that its client named with an `Idempotency-Key`. */
export interface AnswerRecord {
  /** The API key that asked: two of them may choose the same name. */
  readonly keyId: KeyId;
  readonly idempotencyKey: string;
  /** Hash of the whole request, by which another one under the same name is told. */
  readonly requestHash: string;
  /** The answer's JSON. */
  readonly answer: string;
  readonly createdAtMs: number;
}

export interface AnswerRecords {
  find(keyId: KeyId, idempotencyKey: string): Promise<AnswerRecord | undefined>;
  /** Takes the place of one with the same name. */
  insert(record: AnswerRecord): Promise<void>;
  /** Removes all that are older than `beforeMs`, and the oldest of one API key beyond `keep`. */
  prune(keyId: KeyId, limits: { readonly keep: number; readonly beforeMs: number }): Promise<void>;
}
