import { type SessionId, sessionIdSchema, type VmId, vmIdSchema } from "@instavm/contract";
import type { Chance } from "../ports/surroundings.ts";

const letters = "abcdefghijklmnopqrstuvwxyz";
const lettersAndDigits = `${letters}0123456789`;
const vmIdLength = 20;

/** A new VM id: about 103 random bits. */
export function newVmId(chance: Chance): VmId {
  let id = "";
  while (id.length < vmIdLength) {
    for (const byte of chance.bytes(2 * vmIdLength)) {
      const alphabet = id.length === 0 ? letters : lettersAndDigits;
      // Bytes beyond the last whole run of the alphabet would favour its first letters.
      if (id.length < vmIdLength && byte < 256 - (256 % alphabet.length)) id += alphabet.charAt(byte % alphabet.length);
    }
  }
  return vmIdSchema.parse(id);
}

/** A new session id: a random UUID. */
export function newSessionId(chance: Chance): SessionId {
  return sessionIdSchema.parse(chance.uuid());
}
