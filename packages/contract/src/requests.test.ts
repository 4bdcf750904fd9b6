import { describe, expect, it } from "vitest";
import { executeRequestSchema } from "./execute.ts";
import { envLimits, metadataLimitBytes } from "./limits.ts";
import { createSessionRequestSchema, listSandboxesQuerySchema } from "./sessions.ts";
import { formatTime, timeSchema } from "./time.ts";

const sessionId = "0b5c6a0e-3f63-4d9b-8c43-0c7a3f5e2a11";

function fields(result: { error?: { issues: readonly { path: PropertyKey[] }[] } | undefined }): readonly string[] {
  return (result.error?.issues ?? []).map((issue) => issue.path.join("."));
}

describe("a session request", () => {
  it("has a default for everything", () => {
    expect(createSessionRequestSchema.parse({})).toEqual({ vm_lifetime_seconds: 300, memory_mb: 512, vcpu_count: 2 });
  });

  it.each([
    [{ vm_lifetime_seconds: 19 }, "vm_lifetime_seconds"],
    [{ vm_lifetime_seconds: 20.5 }, "vm_lifetime_seconds"],
    [{ memory_mb: 127 }, "memory_mb"],
    [{ memory_mb: "512" }, "memory_mb"],
    [{ vcpu_count: 3 }, "vcpu_count"],
    [{ env: { "A=B": "c" } }, "env.A=B"],
    [{ env: { A: "nul\0" } }, "env.A"],
    [{ env: { A: 1 } }, "env.A"],
    [{ env: { A: "x".repeat(envLimits.bytes) } }, "env"],
    [{ env: Object.fromEntries(Array.from({ length: 257 }, (_, index) => [`V${index}`, ""])) }, "env"],
    [{ metadata: [] }, "metadata"],
    [{ metadata: { text: "x".repeat(metadataLimitBytes) } }, "metadata"],
  ])("refuses %j by the name of the field", (body, field) => {
    expect(fields(createSessionRequestSchema.safeParse(body))).toEqual([field]);
  });

  it("refuses metadata that is nested without end", () => {
    const metadata: unknown = JSON.parse(`{"deep":${"[".repeat(200_000)}${"]".repeat(200_000)}}`);
    expect(fields(createSessionRequestSchema.safeParse({ metadata }))).toEqual(["metadata"]);
  });
});

describe("an execute request", () => {
  it("runs for a minute at most when nothing is said, in whatever language the code is", () => {
    const body = executeRequestSchema.parse({ command: "1", session_id: sessionId.toUpperCase() });
    expect(body).toEqual({ command: "1", session_id: sessionId, timeout: 60 });
  });

  it.each([
    [{ command: "" }, "command"],
    [{ command: "a\0b" }, "command"],
    [{ command: "\ud800" }, "command"],
    [{ language: "ruby" }, "language"],
    [{ timeout: 0 }, "timeout"],
    [{ timeout: 601 }, "timeout"],
    [{ session_id: "../../etc" }, "session_id"],
    [{ vault_ids: ["v"] }, "vault_ids"],
  ])("refuses %j by the name of the field", (change, field) => {
    const body = { command: "1", session_id: sessionId, ...change };
    expect(fields(executeRequestSchema.safeParse(body))).toEqual([field]);
  });
});

describe("a list's limit", () => {
  it("comes as text and is bounded", () => {
    expect(listSandboxesQuerySchema.parse({ limit: "7" }).limit).toBe(7);
    expect(fields(listSandboxesQuerySchema.safeParse({ limit: "1001" }))).toEqual(["limit"]);
    expect(fields(listSandboxesQuerySchema.safeParse({ limit: "many" }))).toEqual(["limit"]);
  });
});

describe("formatTime", () => {
  it("writes UTC in whole seconds", () => {
    expect(timeSchema.parse(formatTime(Date.UTC(2026, 0, 2, 3, 4, 5, 999)))).toBe("2026-01-02T03:04:05Z");
  });
});
