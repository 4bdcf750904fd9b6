import type { ProgramEnd } from "./run-program.ts";

/** What one runner counted. */
export interface Tally {
  readonly passed: number;
  readonly failed: number;
}

/** A check passes or fails as a whole. */
export function tallyOfCheck(end: ProgramEnd): Tally {
  return end.exitCode === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
}

/** Sums the `test result:` lines that cargo prints for each test program. */
export function tallyOfCargo(end: ProgramEnd): Tally {
  const results = [...end.output.matchAll(/^test result: \w+\. (\d+) passed; (\d+) failed/gm)];
  const passed = results.reduce((sum, [, count]) => sum + Number(count), 0);
  const failed = results.reduce((sum, [, , count]) => sum + Number(count), 0);
  return failIfUnexplained({ passed, failed }, end);
}

/** Reads the summary of Python's unittest. */
export function tallyOfUnittest(end: ProgramEnd): Tally {
  const ran = Number(/^Ran (\d+) tests?/m.exec(end.output)?.[1] ?? 0);
  const verdict = /^FAILED \((.*)\)$/m.exec(end.output)?.[1] ?? "";
  const failed = [...verdict.matchAll(/(?:failures|errors|unexpected successes)=(\d+)/g)].reduce(
    (sum, [, count]) => sum + Number(count),
    0,
  );
  return failIfUnexplained({ passed: ran - failed, failed }, end);
}

/** Reads vitest's JSON report; a file that could not be loaded counts as one failure. */
export function tallyOfVitest(report: unknown, end: ProgramEnd): Tally {
  const passed = numberAt(report, "numPassedTests");
  const notPassed = numberAt(report, "numTotalTests") - passed;
  return failIfUnexplained({ passed, failed: Math.max(notPassed, numberAt(report, "numFailedTests")) }, end);
}

/** A runner that ended badly, or ran nothing, without counting a failure has failed once. */
function failIfUnexplained(tally: Tally, end: ProgramEnd): Tally {
  const unexplained = tally.failed === 0 && (end.exitCode !== 0 || tally.passed === 0);
  return unexplained ? { ...tally, failed: 1 } : tally;
}

function numberAt(report: unknown, field: string): number {
  if (typeof report !== "object" || report === null) return 0;
  const value: unknown = Object.entries(report).find(([name]) => name === field)?.[1];
  return typeof value === "number" ? value : 0;
}
