import { expect, test } from "vitest";
import { poolWarmUp, templateWarmUp, warmthOf } from "./warm-up-steps.ts";

test("a list of steps has one name, and any change of it another", () => {
  expect(warmthOf(templateWarmUp)).toBe(warmthOf(structuredClone(templateWarmUp)));
  expect(warmthOf(templateWarmUp)).toMatch(/^warm-[0-9a-f]{16}$/);
  const names = [templateWarmUp, templateWarmUp.slice(1), [...templateWarmUp].toReversed(), poolWarmUp, []];
  expect(new Set(names.map((steps) => warmthOf(steps))).size).toBe(5);
});

test("the template runs what people run, and writes everything to the disk at the end", () => {
  const text = JSON.stringify(templateWarmUp);
  for (const needed of ["!true", "await ", "display(", "python3", "node", '"language":"bash"', '"kind":"file"']) {
    expect(text).toContain(needed);
  }
  expect(templateWarmUp.at(-1)).toMatchObject({ argv: ["sync"] });
});
