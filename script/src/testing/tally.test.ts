import { expect, test } from "vitest";
import { tallyOfCargo, tallyOfUnittest, tallyOfVitest } from "./tally.ts";

const endedWith = (exitCode: number, output = ""): { exitCode: number; output: string; seconds: number } => ({
  exitCode,
  output,
  seconds: 1,
});

test("the results of all of cargo's test programs are summed", () => {
  const output =
    "test result: ok. 12 passed; 0 failed; 0 ignored\n…\ntest result: FAILED. 3 passed; 2 failed; 0 ignored\n";
  expect(tallyOfCargo(endedWith(101, output))).toEqual({ passed: 15, failed: 2 });
});

test("a build that fails before any test counts as one failure", () => {
  expect(tallyOfCargo(endedWith(101, "error: could not compile"))).toEqual({ passed: 0, failed: 1 });
});

test("unittest's failures and errors both count", () => {
  const output = "Ran 10 tests in 1.2s\n\nFAILED (failures=1, errors=2)\n";
  expect(tallyOfUnittest(endedWith(1, output))).toEqual({ passed: 7, failed: 3 });
});

test("a runner that found no test at all has failed", () => {
  expect(tallyOfUnittest(endedWith(0, "Ran 0 tests in 0.0s\n\nOK\n"))).toEqual({ passed: 0, failed: 1 });
  expect(tallyOfVitest(undefined, endedWith(0))).toEqual({ passed: 0, failed: 1 });
});

test("a skipped test is not a passed one", () => {
  const report = { numTotalTests: 5, numPassedTests: 4, numFailedTests: 0 };
  expect(tallyOfVitest(report, endedWith(0))).toEqual({ passed: 4, failed: 1 });
});
