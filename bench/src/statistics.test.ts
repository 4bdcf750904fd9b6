import { expect, test } from "vitest";
import { percentile, summarise } from "./statistics.ts";

test("a summary names the nearest-rank median and p95 of unsorted values", () => {
  const values = Array.from({ length: 100 }, (_, index) => 100 - index);
  expect(summarise(values)).toEqual({ n: 100, min: 1, median: 50, p95: 95, max: 100 });
});

test("one value is its own median", () => {
  expect(summarise([7])).toEqual({ n: 1, min: 7, median: 7, p95: 7, max: 7 });
});

test("a percentile is the nearest rank of unsorted values", () => {
  const values = Array.from({ length: 200 }, (_, index) => 200 - index);
  expect([0, 0.5, 0.99, 1].map((share) => percentile(values, share))).toEqual([1, 100, 198, 200]);
});
