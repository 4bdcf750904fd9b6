import { randomBytes, randomUUID } from "node:crypto";
import type { Chance, Clock } from "@instavm/core";

/** The machine's own time. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after: (delayMs, callback) => {
    const timer = setTimeout(callback, Math.min(delayMs, longestTimerMs));
    timer.unref();
    return () => clearTimeout(timer);
  },
};

/** Beyond this, Node fires at once. */
const longestTimerMs = 2 ** 31 - 1;

/** The kernel's random numbers. */
export const systemChance: Chance = {
  bytes: (length) => randomBytes(length),
  uuid: () => randomUUID(),
};
