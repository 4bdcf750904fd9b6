import { ManualClock, sampleSessionId } from "@instavm/testkit";
import type { SessionId } from "@instavm/contract";
import { expect, test } from "vitest";
import { Lifetimes } from "./lifetimes.ts";

function watch(): { clock: ManualClock; lifetimes: Lifetimes; expired: SessionId[] } {
  const clock = new ManualClock();
  const expired: SessionId[] = [];
  return { clock, expired, lifetimes: new Lifetimes(clock, (sessionId) => expired.push(sessionId)) };
}

test("sessions expire at their time, in order, whatever the order in which they came", async () => {
  const { clock, lifetimes, expired } = watch();
  const delays = Array.from({ length: 200 }, (_, index) => ((index * 7919) % 200) * 10 + 10);
  delays.forEach((delay, index) => lifetimes.schedule(sampleSessionId(index), clock.nowMs() + delay));
  await clock.advance(1000);
  expect(expired.length).toBe(100);
  await clock.advance(1000);
  const expected = delays.map((delay, index) => ({ delay, index })).sort((one, other) => one.delay - other.delay);
  expect(expired).toEqual(expected.map(({ index }) => sampleSessionId(index)));
  expect([lifetimes.count, clock.timerCount]).toEqual([0, 0]);
});

test("a cancelled session does not expire", async () => {
  const { clock, lifetimes, expired } = watch();
  lifetimes.schedule(sampleSessionId(1), clock.nowMs() + 10);
  lifetimes.schedule(sampleSessionId(2), clock.nowMs() + 20);
  lifetimes.cancel(sampleSessionId(1));
  await clock.advance(100);
  expect(expired).toEqual([sampleSessionId(2)]);
});

test("a session that is scheduled again expires once, at the later time", async () => {
  const { clock, lifetimes, expired } = watch();
  lifetimes.schedule(sampleSessionId(1), clock.nowMs() + 10);
  lifetimes.schedule(sampleSessionId(1), clock.nowMs() + 50);
  await clock.advance(40);
  expect(expired).toEqual([]);
  await clock.advance(20);
  expect(expired).toEqual([sampleSessionId(1)]);
});

test("a step of the wall clock is noticed within a minute, in both directions", async () => {
  const { clock, lifetimes, expired } = watch();
  lifetimes.schedule(sampleSessionId(1), clock.nowMs() + 3_600_000);
  clock.stepWallClock(3_600_000);
  await clock.advance(60_000);
  expect(expired).toEqual([sampleSessionId(1)]);
  lifetimes.schedule(sampleSessionId(2), clock.nowMs() + 1_000);
  clock.stepWallClock(-10_000);
  await clock.advance(5_000);
  expect(expired.length).toBe(1);
  await clock.advance(6_000);
  expect(expired.length).toBe(2);
});

test("what was due while nobody watched is due at once", async () => {
  const { clock, lifetimes, expired } = watch();
  lifetimes.schedule(sampleSessionId(1), clock.nowMs() - 5_000);
  await clock.advance(0);
  expect(expired).toEqual([sampleSessionId(1)]);
});

test("many short sessions with long lifetimes leave nothing behind, and stopping leaves no timer", async () => {
  const { clock, lifetimes, expired } = watch();
  for (let number = 0; number < 5_000; number += 1) {
    lifetimes.schedule(sampleSessionId(number), clock.nowMs() + 86_400_000);
    if (number % 100 !== 0) lifetimes.cancel(sampleSessionId(number));
  }
  expect(lifetimes.count).toBe(50);
  await clock.advance(86_400_000);
  expect(expired.length).toBe(50);
  lifetimes.schedule(sampleSessionId(1), clock.nowMs() + 10);
  lifetimes.stop();
  expect(clock.timerCount).toBe(0);
});
