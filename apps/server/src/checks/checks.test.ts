import { createServer } from "node:net";
import { once } from "node:events";
import type { Check } from "@instavm/core";
import { describe, expect, it } from "vitest";
import { readSettings } from "../settings/settings.ts";
import { allPassed, checkTable } from "./check-table.ts";
import { accountCheck, ownChecks } from "./own-checks.ts";

const good: Check = { subject: "QEMU", outcome: "ok", seen: "7.2", expected: "7.0 or newer", remedy: "" };
const bad: Check = { subject: "account", outcome: "failed", seen: "uid 1000", expected: "root", remedy: "sudo -i" };

describe("the table of checks", () => {
  it("shows what was seen and expected, and the remedy", () => {
    expect(checkTable([good, bad])).toBe(
      [
        "ok    QEMU     7.2 (expected: 7.0 or newer)",
        "FAIL  account  uid 1000",
        "               expected: root",
        "               remedy: sudo -i",
      ].join("\n"),
    );
  });

  it("fails when one has failed, and a warning is no failure", () => {
    expect(allPassed([good, { ...bad, outcome: "warning" }])).toBe(true);
    expect(allPassed([good, bad])).toBe(false);
  });
});

describe("the server's own checks", () => {
  it("want root", () => {
    expect(accountCheck(0).outcome).toBe("ok");
    expect(accountCheck(1000)).toMatchObject({ outcome: "failed", seen: "uid 1000" });
  });

  it("see a taken port and a directory that is not made yet", async () => {
    const taken = createServer();
    taken.listen(0, "127.0.0.1");
    await once(taken, "listening");
    try {
      const address = taken.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      const flags = { listen: `127.0.0.1:${port}`, "state-dir": "/tmp/instavm-not-made/at-all" };
      const checks = await ownChecks(readSettings(flags, {}));
      const seen = Object.fromEntries(checks.map((check) => [check.subject, check]));
      expect(seen["port"]).toMatchObject({ outcome: "warning", seen: "taken" });
      expect(seen["state directory"]).toMatchObject({ outcome: "ok", seen: expect.stringContaining("not made yet") });
      expect(seen["Node.js"]?.outcome).toBe("ok");
    } finally {
      taken.close();
    }
  });
});
