import { idempotencyLimits, InstaVmError, type KeyId } from "@instavm/contract";
import type { AnswerRecord, AnswerRecords } from "../ports/answer-records.ts";
import type { Clock, Log } from "../ports/surroundings.ts";
import { untilAborted } from "../waiting/deadline.ts";
import { SharedCall } from "./shared-call.ts";

/** A request that its client has named. */
export interface NamedCall {
  readonly keyId: KeyId;
  readonly idempotencyKey: string;
  /** The same for the same request only. */
  readonly requestHash: string;
  /** Aborts when this client leaves. The work goes on while another one waits for it. */
  readonly signal: AbortSignal;
}

/** The JSON of an answer. */
export interface NamedAnswer {
  readonly text: string;
  /** It was given before, or to somebody else who asked at the same time. */
  readonly isRepeat: boolean;
}

/** Runs requests of the same name once. */
export interface IdempotentCalls {
  /**
   * Answers as the first call of this name was answered, or does the work. Throws `idempotency_key_reused` for another
   * request under the same name, what the work throws, or the signal's reason. A failure is not kept.
   */
  run(call: NamedCall, work: (signal: AbortSignal) => Promise<string>): Promise<NamedAnswer>;
}

/** What named calls are kept with. */
export interface IdempotentCallParts {
  readonly records: AnswerRecords;
  readonly clock: Pick<Clock, "nowMs">;
  readonly log: Log;
}

/** The named calls of one server. */
export function createIdempotentCalls(parts: IdempotentCallParts): IdempotentCalls {
  return new CallsByName(parts);
}

/** It costs about a millisecond; so many more than allowed may be kept. */
const pruneEvery = 100;
const keptMs = idempotencyLimits.keptHours * 3_600_000;

class CallsByName implements IdempotentCalls {
  readonly #parts: IdempotentCallParts;
  #kept = 0;
  readonly #running = new Map<string, SharedCall<NamedAnswer>>();

  constructor(parts: IdempotentCallParts) {
    this.#parts = parts;
  }

  async run(call: NamedCall, work: (signal: AbortSignal) => Promise<string>): Promise<NamedAnswer> {
    call.signal.throwIfAborted();
    const name = `${call.keyId} ${call.idempotencyKey}`;
    for (let running = this.#running.get(name); running !== undefined; running = this.#running.get(name)) {
      if (running.isAbandoned) {
        // All who waited have left: what it has begun is released first.
        await untilAborted(running.settled, call.signal);
        continue;
      }
      requireSame(call, running.requestHash);
      return { ...(await running.join(call.signal)), isRepeat: true };
    }
    const own = new SharedCall(call.requestHash, async (signal) => {
      try {
        return await this.#answer(call, () => work(signal));
      } finally {
        this.#running.delete(name);
      }
    });
    this.#running.set(name, own);
    return own.join(call.signal);
  }

  async #answer(call: NamedCall, work: () => Promise<string>): Promise<NamedAnswer> {
    const { records, clock } = this.#parts;
    const kept = await records.find(call.keyId, call.idempotencyKey);
    if (kept !== undefined && kept.createdAtMs > clock.nowMs() - keptMs) {
      requireSame(call, kept.requestHash);
      return { text: kept.answer, isRepeat: true };
    }
    const answer = await work();
    const { keyId, idempotencyKey, requestHash } = call;
    await this.#keep({ keyId, idempotencyKey, requestHash, answer, createdAtMs: clock.nowMs() });
    return { text: answer, isRepeat: false };
  }

  /** Never rejects: the work is done, and its answer is owed. */
  async #keep(record: AnswerRecord): Promise<void> {
    const { records, log } = this.#parts;
    try {
      await records.insert(record);
      this.#kept += 1;
      if (this.#kept % pruneEvery !== 1) return;
      const beforeMs = record.createdAtMs - keptMs;
      await records.prune(record.keyId, { keep: idempotencyLimits.keptPerKey, beforeMs });
    } catch (error) {
      log.error("answer.record_failed", { keyId: record.keyId, error });
    }
  }
}

function requireSame({ idempotencyKey, requestHash }: NamedCall, seenHash: string): void {
  if (requestHash === seenHash) return;
  throw new InstaVmError(
    "idempotency_key_reused",
    `The Idempotency-Key ${JSON.stringify(idempotencyKey)} came with another request before; it names one request only.`,
  );
}
