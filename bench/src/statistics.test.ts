import { expect, test } from "vitest";
import { summarise } from "./statistics.ts";

test("a summary names the nearest-rank median and p95 of unsorted values", () => {
  const values = Array.from({ length: 100 }, (_, index) => 100 - index);
  expect(summarise(values)).toEqual({ n: 100, min: 1, median: 50, p95: 95, max: 100 });
});

test("one value is its own median", () => {
  expect(summarise([7])).toEqual({ n: 1, min: 7, median: 7, p95: 7, max: 7 });
});
