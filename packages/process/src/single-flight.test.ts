import { expect, test } from "vitest";
import { once, singleFlight } from "./single-flight.ts";

test("callers at the same time share one run, a later caller starts another", async () => {
  let runs = 0;
  const flight = singleFlight(() => Promise.resolve(++runs));
  expect(await Promise.all([flight(), flight(), flight()])).toEqual([1, 1, 1]);
  expect(await flight()).toBe(2);
});

test("a failed run fails all who share it and the next caller runs again", async () => {
  let runs = 0;
  const flight = singleFlight(async () => {
    runs += 1;
    if (runs === 1) throw new Error("first");
    return Promise.resolve(runs);
  });
  const [one, two] = await Promise.allSettled([flight(), flight()]);
  expect([one.status, two.status]).toEqual(["rejected", "rejected"]);
  expect(await flight()).toBe(2);
});

test("once keeps a success for good", async () => {
  let runs = 0;
  const start = once(() => Promise.resolve(++runs));
  expect([await start(), await start(), await start()]).toEqual([1, 1, 1]);
});

test("once forgets a failure", async () => {
  let runs = 0;
  const start = once(async () => {
    runs += 1;
    if (runs === 1) throw new Error("first");
    return Promise.resolve(runs);
  });
  await expect(start()).rejects.toThrow("first");
  expect([await start(), await start()]).toEqual([2, 2]);
});
