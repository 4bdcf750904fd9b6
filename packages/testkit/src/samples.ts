import { type KeyId, keyIdSchema, type SessionId, sessionIdSchema, type VmId, vmIdSchema } from "@instavm/contract";

/** A session id that ends in the number. */
export function sampleSessionId(number: number): SessionId {
  return sessionIdSchema.parse(`00000000-0000-4000-8000-${String(number).padStart(12, "0")}`);
}

/** A VM id that ends in the number. */
export function sampleVmId(number: number): VmId {
  return vmIdSchema.parse(`v${String(number).padStart(19, "0")}`);
}

/** A key id: the number itself. */
export function sampleKeyId(number: number): KeyId {
  return keyIdSchema.parse(number);
}
