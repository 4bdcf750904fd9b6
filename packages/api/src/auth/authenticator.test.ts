import type { KeyRecord } from "@instavm/core";
import { describe, expect, it } from "vitest";
import { adminKeyId } from "../testing/memory-sessions.ts";
import { hashApiKey, newApiKey } from "./api-key.ts";
import { Authenticator } from "./authenticator.ts";

function keyRecord(key: string): KeyRecord {
  return { keyId: adminKeyId, role: "user", label: "", hash: hashApiKey(key), createdAtMs: 0, revokedAtMs: undefined };
}

describe("an authenticator", () => {
  it("asks the records again after a while, so that a revoked key stops working", async () => {
    const key = newApiKey();
    let record: KeyRecord = keyRecord(key);
    let nowMs = 0;
    const authenticator = new Authenticator({ findByHash: async () => record }, { monotonicMs: () => nowMs });
    expect(await authenticator.authenticate(key)).toEqual({ keyId: adminKeyId, role: "user" });
    record = { ...record, revokedAtMs: 1 };
    nowMs = 9999;
    await authenticator.authenticate(key);
    nowMs = 10_001;
    await expect(authenticator.authenticate(key)).rejects.toMatchObject({ code: "unauthorized" });
  });

  it("remembers a bounded number of keys and no wrong ones", async () => {
    let lookups = 0;
    const keys = { findByHash: async () => ((lookups += 1), keyRecord("any")) };
    const authenticator = new Authenticator(keys, { monotonicMs: () => 0 });
    for (let index = 0; index < 1001; index += 1) await authenticator.authenticate(`key ${index}`);
    await authenticator.authenticate("key 1000");
    expect(lookups).toBe(1001);
    await authenticator.authenticate("key 0");
    expect(lookups).toBe(1002);
  });
});

describe("a new key", () => {
  it("is unlike every other and can be a header", () => {
    const keys = new Set(Array.from({ length: 100 }, newApiKey));
    expect(keys.size).toBe(100);
    for (const key of keys) expect(key).toMatch(/^sk_instavm_[\w-]{43}$/);
  });
});
