import { expect, test } from "vitest";
import { ManualClock, RecordingLog } from "@instavm/testkit";
import { watchBoot } from "./boot-watchdog.ts";

const limits = { bootTimeoutMs: 60_000, bootCpuMs: 45_000, bootLimitMs: 240_000 };

/** A boot that gets a share of a CPU. */
function bootWith(share: number | undefined): {
  readonly clock: ManualClock;
  readonly log: RecordingLog;
  readonly machine: { readonly cpuMs: () => Promise<number | undefined> };
} {
  const clock = new ManualClock();
  const startedAtMs = clock.monotonicMs();
  const cpuMs = async (): Promise<number | undefined> =>
    share === undefined ? undefined : (clock.monotonicMs() - startedAtMs) * share;
  return { clock, log: new RecordingLog(), machine: { cpuMs } };
}

test("a boot that has had its time and a CPU's time hangs", async () => {
  const { machine, ...parts } = bootWith(0.9);
  using watchdog = watchBoot(machine, limits, parts);
  await parts.clock.advance(59_999);
  expect(watchdog.hasExpired()).toBe(false);
  await parts.clock.advance(1);
  expect(watchdog.signal.reason).toMatchObject({
    code: "guest_unreachable",
    message: expect.stringContaining("54000 ms"),
  });
});

test("a boot that gets little of a busy host goes on until it has had enough", async () => {
  const { machine, ...parts } = bootWith(0.5);
  using watchdog = watchBoot(machine, limits, parts);
  await parts.clock.advance(89_000);
  expect(watchdog.hasExpired()).toBe(false);
  await parts.clock.advance(1_000);
  expect(watchdog.hasExpired()).toBe(true);
});

test("a boot that uses no CPU is not waited for for ever", async () => {
  const { machine, ...parts } = bootWith(0);
  using watchdog = watchBoot(machine, limits, parts);
  await parts.clock.advance(239_999);
  expect(watchdog.hasExpired()).toBe(false);
  await parts.clock.advance(1);
  expect(watchdog.hasExpired()).toBe(true);
});

test("where the CPU time cannot be read, the time alone decides", async () => {
  const { machine, ...parts } = bootWith(undefined);
  using watchdog = watchBoot(machine, limits, parts);
  await parts.clock.advance(60_000);
  expect(watchdog.hasExpired()).toBe(true);
});

test("a boot that came in time leaves no timer", async () => {
  const { machine, ...parts } = bootWith(0.1);
  {
    using watchdog = watchBoot(machine, limits, parts);
    await parts.clock.advance(65_000);
    expect(watchdog.hasExpired()).toBe(false);
  }
  expect(parts.clock.timerCount).toBe(0);
});
