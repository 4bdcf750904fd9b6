import type { KeyRecord } from "@instavm/core";
import { describe, expect, it } from "vitest";
import { userKeyId } from "../testing/memory-sessions.ts";
import { keyRecord } from "../testing/memory-keys.ts";
import { Authenticator } from "./authenticator.ts";

const hash = (key: string): string => `hash of ${key}`;

describe("an authenticator", () => {
  it("asks the records again after a while, so that a revoked key stops working", async () => {
    const key = "a key";
    let record: KeyRecord = keyRecord(key, "user");
    let nowMs = 0;
    const authenticator = new Authenticator(
      { hash, findByHash: async () => record, used: () => undefined },
      { monotonicMs: () => nowMs },
    );
    expect(await authenticator.authenticate(key)).toEqual({ keyId: userKeyId, role: "user" });
    record = { ...record, revokedAtMs: 1 };
    nowMs = 9999;
    await authenticator.authenticate(key);
    nowMs = 10_001;
    await expect(authenticator.authenticate(key)).rejects.toMatchObject({ code: "unauthorized" });
  });

  it("remembers a bounded number of keys and no wrong ones", async () => {
    let lookups = 0;
    const findByHash = async (): Promise<KeyRecord> => {
      lookups += 1;
      return keyRecord("any", "user");
    };
    const authenticator = new Authenticator({ hash, findByHash, used: () => undefined }, { monotonicMs: () => 0 });
    for (let index = 0; index < 1001; index += 1) await authenticator.authenticate(`key ${index}`);
    await authenticator.authenticate("key 1000");
    expect(lookups).toBe(1001);
    await authenticator.authenticate("key 0");
    expect(lookups).toBe(1002);
  });

  it("forgets a key at once, also while it is being looked up, and says which keys were used", async () => {
    const key = "a key";
    let record: KeyRecord = keyRecord(key, "user");
    const used: number[] = [];
    const lookup = Promise.withResolvers<void>();
    const findByHash = async (): Promise<KeyRecord> => {
      const seen = record;
      await lookup.promise;
      return seen;
    };
    const keys = { hash, findByHash, used: (keyId: number) => used.push(keyId) };
    const authenticator = new Authenticator(keys, { monotonicMs: () => 0 });
    const before = authenticator.authenticate(key);
    record = { ...record, revokedAtMs: 1 };
    authenticator.forget(userKeyId);
    lookup.resolve();
    await before;
    await expect(authenticator.authenticate(key)).rejects.toMatchObject({ code: "unauthorized" });
    expect(used).toEqual([userKeyId]);
  });
});
