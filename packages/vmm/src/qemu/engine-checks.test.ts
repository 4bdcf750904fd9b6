import { expect, test } from "vitest";
import { engineChecks } from "./engine-checks.ts";

test("what is there is shown with what was expected", async () => {
  const checks = await engineChecks({ tscProgramPath: "/nowhere/tsc" });
  const subjects = checks.map((check) => check.subject);
  expect(subjects).toEqual([
    "QEMU",
    "hardware virtualization",
    "fork of VM processes",
    "time stamp counter",
    "free memory",
  ]);
  expect(checks[0]).toMatchObject({ outcome: "ok", seen: expect.stringMatching(/^\d+\.\d+.* at \//) });
  expect(checks[1]?.seen).toMatch(/\.$/);
  for (const check of checks) expect(check.expected).not.toBe("");
});

test("what is missing comes with a remedy", async () => {
  const checks = await engineChecks({ tscProgramPath: "/nowhere/tsc", qemuPath: "/nowhere/qemu" });
  expect(checks.map(({ subject, outcome }) => `${subject}: ${outcome}`)).toEqual(
    expect.arrayContaining(["QEMU: failed", "time stamp counter: failed"]),
  );
  const failed = checks.filter((check) => check.outcome === "failed");
  for (const check of failed) expect(check.remedy).not.toBe("");
});
