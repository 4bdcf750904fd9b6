import { InstaVmError } from "@instavm/contract";
import { ManualClock } from "@instavm/testkit";
import { expect, test } from "vitest";
import { joinSignals, sleep, startDeadline, untilAborted } from "./deadline.ts";

const expired = (): InstaVmError => new InstaVmError("timeout", "too late");

test("a deadline fires with its error and says that it did", async () => {
  const clock = new ManualClock();
  using deadline = startDeadline(clock, { timeoutMs: 10, expired });
  await clock.advance(9);
  expect([deadline.signal.aborted, deadline.hasExpired()]).toEqual([false, false]);
  await clock.advance(1);
  expect(deadline.signal.reason).toMatchObject({ code: "timeout" });
  expect(deadline.hasExpired()).toBe(true);
});

test("a caller's abort passes through and is not taken for the deadline", () => {
  const caller = new AbortController();
  using deadline = startDeadline(new ManualClock(), { timeoutMs: 10, signal: caller.signal, expired });
  caller.abort(new Error("gone"));
  expect(deadline.signal.reason).toMatchObject({ message: "gone" });
  expect(deadline.hasExpired()).toBe(false);
});

test("a deadline that is over leaves no timer", () => {
  const clock = new ManualClock();
  startDeadline(clock, { timeoutMs: 10, expired })[Symbol.dispose]();
  expect(clock.timerCount).toBe(0);
});

test("sleep ends with the signal and leaves no timer", async () => {
  const clock = new ManualClock();
  const caller = new AbortController();
  const asleep = sleep(clock, 1000, caller.signal);
  caller.abort(new Error("wake"));
  await expect(asleep).rejects.toThrow("wake");
  expect(clock.timerCount).toBe(0);
});

test("waiting ends with the signal although the work goes on", async () => {
  const work = Promise.withResolvers<string>();
  await expect(untilAborted(work.promise, AbortSignal.abort(new Error("stop")))).rejects.toThrow("stop");
  work.reject(new Error("late failures are nobody's"));
  await expect(untilAborted(Promise.resolve("in time"), undefined)).resolves.toBe("in time");
});

test("joined signals fire with the first one", () => {
  const [one, two] = [new AbortController(), new AbortController()];
  const joined = joinSignals(one.signal, undefined, two.signal);
  two.abort(new Error("two"));
  expect(joined.reason).toMatchObject({ message: "two" });
  expect(joinSignals(one.signal, undefined)).toBe(one.signal);
});
