import { createHash, randomBytes } from "node:crypto";

const keyPrefix = "ivm_";

/** A new API key: 256 random bits. Shown once to its owner and stored nowhere. */
export function generateKey(): string {
  return keyPrefix + randomBytes(32).toString("base64url");
}

/** Hex SHA-256 of a key, under which its record is found. A key has 256 random bits: no salt, no slow hash needed. */
export function hashKey(key: string): string {
  return createHash("sha256").update(key, "utf8").digest("hex");
}
