import { hash, randomBytes } from "node:crypto";

/** A new key: 256 random bits behind a prefix that secret scanners can look for. */
export function newApiKey(): string {
  return `sk_instavm_${randomBytes(32).toString("base64url")}`;
}

/** What is stored of a key: hex SHA-256. Plain hashing suffices, because keys are random and long. */
export function hashApiKey(key: string): string {
  return hash("sha256", key, "hex");
}
