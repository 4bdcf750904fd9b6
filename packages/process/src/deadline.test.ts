import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import { DeadlineExceeded, startDeadline, withDeadline } from "./deadline.ts";
import { sleep } from "./sleep.ts";

test("a wait that ends in time gives its value", async () => {
  await expect(withDeadline(() => Promise.resolve(42), { subject: "the answer", timeoutMs: 5_000 })).resolves.toBe(42);
});

test("a wait that heeds no signal still ends at its deadline, and says what was waited for", async () => {
  const never = new Promise<never>(() => {});
  const wait = withDeadline(() => never, { subject: "the reply", timeoutMs: 20 });
  await expect(wait).rejects.toThrow(new DeadlineExceeded("the reply", 20));
});

test("the signal given to the wait fires at the deadline", async () => {
  const seen: unknown[] = [];
  const wait = withDeadline(
    async (signal) => {
      signal.addEventListener("abort", () => seen.push(signal.reason));
      await sleep(10_000, signal);
    },
    { subject: "a nap", timeoutMs: 20 },
  );
  await expect(wait).rejects.toBeInstanceOf(DeadlineExceeded);
  expect(seen).toEqual([new DeadlineExceeded("a nap", 20)]);
});

test("the caller's abort ends the wait with the caller's reason", async () => {
  const caller = new AbortController();
  const wait = withDeadline((signal) => sleep(10_000, signal), {
    subject: "a nap",
    timeoutMs: 10_000,
    signal: caller.signal,
  });
  caller.abort(new Error("left"));
  await expect(wait).rejects.toThrow("left");
});

test("an aborted caller's wait never starts", async () => {
  let started = false;
  const wait = withDeadline(
    async () => {
      started = true;
      await Promise.resolve();
    },
    { subject: "a start", timeoutMs: 1_000, signal: AbortSignal.abort(new Error("too late")) },
  );
  await expect(wait).rejects.toThrow("too late");
  expect(started).toBe(false);
});

test("a failure of the wait is passed on as it is", async () => {
  const failure = new TypeError("broken");
  await expect(withDeadline(() => Promise.reject(failure), { subject: "work", timeoutMs: 1_000 })).rejects.toBe(
    failure,
  );
});

test("a late failure after the deadline is dropped, not unhandled", async () => {
  const late = Promise.withResolvers<never>();
  await expect(withDeadline(() => late.promise, { subject: "work", timeoutMs: 10 })).rejects.toBeInstanceOf(
    DeadlineExceeded,
  );
  late.reject(new Error("nobody listens"));
  await sleep(10);
});

test("a disposed deadline never fires", async () => {
  const deadline = startDeadline({ subject: "a nap", timeoutMs: 10 });
  deadline[Symbol.dispose]();
  await sleep(40);
  expect(deadline.signal.aborted).toBe(false);
});

test("a deadline longer than a timer can hold does not fire at once", async () => {
  using deadline = startDeadline({ subject: "a year", timeoutMs: 365 * 24 * 3600 * 1000 });
  await sleep(20);
  expect(deadline.signal.aborted).toBe(false);
});

test("sleep leaves no listener on its signal", async () => {
  const caller = new AbortController();
  await sleep(1, caller.signal);
  expect(getEventListeners(caller.signal, "abort")).toEqual([]);
});

test("an aborted sleep rejects with the reason", async () => {
  const caller = new AbortController();
  const nap = sleep(10_000, caller.signal);
  caller.abort(new Error("wake up"));
  await expect(nap).rejects.toThrow("wake up");
});
