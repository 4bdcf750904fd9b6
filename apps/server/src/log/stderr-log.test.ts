import { InstaVmError } from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { lineLog } from "./stderr-log.ts";

function written(format: "plain" | "json", write: (log: ReturnType<typeof lineLog>) => void): string {
  let text = "";
  write(lineLog(format, (line) => (text += line)));
  return text;
}

describe("a log line", () => {
  it("is one JSON object", () => {
    const line = written("json", (log) => log.warn("vm.lost", { vmId: "a\nb", count: 2 }));
    expect(line.endsWith("}\n")).toBe(true);
    expect(JSON.parse(line)).toMatchObject({ level: "warn", event: "vm.lost", vmId: "a\nb", count: 2 });
  });

  it("is readable in plain, and stays one line whatever it is told", () => {
    const line = written("plain", (log) => log.info("vm.started", { vmId: "abc", readyMs: 12.3456, text: "a\nb" }));
    expect(line).toMatch(/^\S+Z info {2}vm\.started vmId=abc readyMs=12\.35 text="a\\nb"\n$/);
  });

  it("shows our own errors as sentences and all others with their stack", () => {
    const cause = new TypeError("inner");
    const line = written("json", (log) =>
      log.error("failed", { ours: new InstaVmError("vm_lost", "It is gone.", { cause }), theirs: cause }),
    );
    expect(JSON.parse(line)).toMatchObject({
      ours: { code: "vm_lost", message: "It is gone.", cause: expect.stringContaining("TypeError: inner") },
      theirs: expect.stringContaining("stderr-log.test.ts"),
    });
  });
});
