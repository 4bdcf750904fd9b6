import { InstaVmError } from "@instavm/contract";
import {
  eventually,
  Faults,
  ManualClock,
  openMemoryRecords,
  RecordingLog,
  RecordTables,
  sampleKeyId,
} from "@instavm/testkit";
import { describe, expect, it } from "vitest";
import { createIdempotentCalls, type NamedAnswer, type NamedCall } from "./idempotent-calls.ts";

const [ownKey, otherKey] = [sampleKeyId(1), sampleKeyId(2)];
const hourMs = 3_600_000;

/** Named calls over records in memory, whose work answers when the test says so. */
class Room {
  readonly clock = new ManualClock();
  readonly log = new RecordingLog();
  readonly faults = new Faults();
  readonly #tables = new RecordTables();
  #calls = this.#open();
  readonly #works: PromiseWithResolvers<string>[] = [];

  /** How often the work was begun. */
  get begun(): number {
    return this.#works.length;
  }

  call(over: Partial<NamedCall> = {}): Promise<NamedAnswer> {
    const call = { keyId: ownKey, idempotencyKey: "n", requestHash: "h", signal: never, ...over };
    return this.#calls.run(call, async (signal) => {
      const work = Promise.withResolvers<string>();
      this.#works.push(work);
      signal.addEventListener("abort", () => work.reject(signal.reason));
      return work.promise;
    });
  }

  /** Ends all work that has begun. */
  async answer(text: string): Promise<void> {
    await this.untilBegun();
    for (const work of this.#works) work.resolve(text);
  }

  /** The same with a failure. */
  async fail(error: Error): Promise<void> {
    await this.untilBegun();
    for (const work of this.#works) work.reject(error);
  }

  async untilBegun(times = 1): Promise<void> {
    await eventually(() => this.begun >= times, `work is begun ${times} times`);
  }

  /** Another server over the same records. */
  restart(): void {
    this.#calls = this.#open();
  }

  #open() {
    const { answers } = openMemoryRecords(this.#tables, this.faults);
    return createIdempotentCalls({ records: answers, clock: this.clock, log: this.log });
  }
}

const never = new AbortController().signal;

describe("a call with a name", () => {
  it("is answered as the first one was, also by the next server", async () => {
    const room = new Room();
    const first = room.call();
    await room.answer("one");
    expect(await first).toEqual({ text: "one", isRepeat: false });
    expect(await room.call()).toEqual({ text: "one", isRepeat: true });
    room.restart();
    expect(await room.call()).toEqual({ text: "one", isRepeat: true });
    expect(room.begun).toBe(1);
  });

  it("waits for the first of its name while that runs", async () => {
    const room = new Room();
    const calls = [room.call(), room.call(), room.call()];
    await room.answer("one");
    expect(await Promise.all(calls)).toEqual([
      { text: "one", isRepeat: false },
      { text: "one", isRepeat: true },
      { text: "one", isRepeat: true },
    ]);
    expect(room.begun).toBe(1);
  });

  it("is refused with another request, while the first runs and after it", async () => {
    const room = new Room();
    const first = room.call();
    await room.untilBegun();
    await expect(room.call({ requestHash: "other" })).rejects.toMatchObject({ code: "idempotency_key_reused" });
    await room.answer("one");
    await first;
    await expect(room.call({ requestHash: "other" })).rejects.toMatchObject({ code: "idempotency_key_reused" });
  });

  it("has nothing to do with the same name of another key", async () => {
    const room = new Room();
    const calls = [room.call(), room.call({ keyId: otherKey, requestHash: "other" })];
    await room.untilBegun(2);
    await room.answer("one");
    expect(await Promise.all(calls)).toEqual([
      { text: "one", isRepeat: false },
      { text: "one", isRepeat: false },
    ]);
  });

  it("that fails fails for all who wait, and is tried anew by the next", async () => {
    const room = new Room();
    const calls = [room.call(), room.call()];
    await room.fail(new InstaVmError("capacity", "full"));
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: "capacity" });
    const next = room.call();
    await room.untilBegun(2);
    await room.answer("two");
    expect(await next).toEqual({ text: "two", isRepeat: false });
  });

  it("goes on when the client who began has left and another waits", async () => {
    const room = new Room();
    const leaving = new AbortController();
    const first = room.call({ signal: leaving.signal });
    const second = room.call();
    await room.untilBegun();
    leaving.abort(new TypeError("left"));
    await expect(first).rejects.toThrow("left");
    await room.answer("one");
    expect(await second).toEqual({ text: "one", isRepeat: true });
  });

  it("is given up when all have left, and the next begins behind it", async () => {
    const room = new Room();
    const leaving = new AbortController();
    const left = [room.call({ signal: leaving.signal }), room.call({ signal: leaving.signal })];
    await room.untilBegun();
    leaving.abort(new TypeError("left"));
    for (const call of left) await expect(call).rejects.toThrow("left");
    const next = room.call();
    await room.untilBegun(2);
    await room.answer("two");
    expect(await next).toEqual({ text: "two", isRepeat: false });
  });

  it("is forgotten after a day, whichever way the clock jumps", async () => {
    const room = new Room();
    const first = room.call();
    await room.answer("one");
    await first;
    room.clock.stepWallClock(-48 * hourMs);
    expect(await room.call()).toEqual({ text: "one", isRepeat: true });
    room.clock.stepWallClock(48 * hourMs + 24 * hourMs);
    const second = room.call();
    await room.untilBegun(2);
    await room.answer("two");
    expect(await second).toEqual({ text: "two", isRepeat: false });
  });

  it("is answered also when the answer cannot be kept, which the log says", async () => {
    const room = new Room();
    room.faults.plan("answers.insert", { kind: "fail" });
    const first = room.call();
    await room.answer("one");
    expect(await first).toEqual({ text: "one", isRepeat: false });
    expect(room.log.lines).toMatchObject([{ event: "answer.record_failed" }]);
  });
});
