import { ManualClock, settle } from "@instavm/testkit";
import { expect, test } from "vitest";
import { WorkGauge } from "./work-gauge.ts";

const never = new AbortController().signal;

test("is quiet only when nothing ran for the whole time", async () => {
  const clock = new ManualClock();
  const gauge = new WorkGauge(clock);
  let isQuiet = false;
  const work = gauge.enter();
  const waiting = gauge.quiet(30, never).then(() => (isQuiet = true));
  await clock.advance(100);
  expect(isQuiet).toBe(false);
  work[Symbol.dispose]();
  await clock.advance(20);
  gauge.enter()[Symbol.dispose]();
  await clock.advance(20);
  expect(isQuiet).toBe(false);
  await clock.advance(40);
  await waiting;
  expect(isQuiet).toBe(true);
});

test("is idle when the last piece of work has left", async () => {
  const gauge = new WorkGauge(new ManualClock());
  const [one, two] = [gauge.enter(), gauge.enter()];
  let isIdle = false;
  const waiting = gauge.idle().then(() => (isIdle = true));
  one[Symbol.dispose]();
  one[Symbol.dispose]();
  await settle();
  expect([isIdle, gauge.count]).toEqual([false, 1]);
  two[Symbol.dispose]();
  await waiting;
  expect(gauge.count).toBe(0);
});

test("stops waiting with the signal", async () => {
  const gauge = new WorkGauge(new ManualClock());
  using _work = gauge.enter();
  await expect(gauge.quiet(1, AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
});
