import type { Check } from "@instavm/core";

const marks = { ok: "ok  ", warning: "note", failed: "FAIL" } as const satisfies Record<Check["outcome"], string>;

/** The checks for people: what was seen and expected, and below what is not right, the remedy. */
export function checkTable(checks: readonly Check[]): string {
  const width = Math.max(0, ...checks.map(({ subject }) => subject.length));
  const indent = " ".repeat(width + 8);
  const rows = checks.flatMap(({ subject, outcome, seen, expected, remedy }) => [
    `${marks[outcome]}  ${subject.padEnd(width)}  ${seen}${outcome === "ok" ? ` (expected: ${expected})` : ""}`,
    ...(outcome === "ok" ? [] : [`${indent}expected: ${expected}`]),
    ...(remedy === "" ? [] : [`${indent}remedy: ${remedy}`]),
  ]);
  return rows.join("\n");
}

/** Whether the server can run with these. */
export function allPassed(checks: readonly Check[]): boolean {
  return checks.every(({ outcome }) => outcome !== "failed");
}
