import { expect, test } from "vitest";
import { canBecome, vmStatuses, vmTransitions } from "./vm-status.ts";

test("what has ended stays so", () => {
  for (const status of vmStatuses) {
    expect([canBecome("terminated", status), canBecome("failed", status)]).toEqual([false, false]);
  }
});

test("every VM can end and can fail, whatever it is doing", () => {
  for (const status of vmStatuses) {
    if (vmTransitions[status].length === 0) continue;
    expect([canBecome(status, "terminated"), canBecome(status, "failed")]).toEqual([true, true]);
  }
});
