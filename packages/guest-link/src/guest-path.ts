import { InstaVmError } from "@instavm/contract";
import type { GuestPath } from "@instavm/core";
import { guestProtocolError } from "./link-errors.ts";

/** The kernel's bound, without its terminating NUL. */
const longestPathBytes = 4095;
const longestNameBytes = 255;
const slash = 0x2f;

/** The bytes of a caller's path. Throws `invalid` for one that no file can have. */
export function pathBytes(path: GuestPath): Uint8Array<ArrayBuffer> {
  if (typeof path === "string" && !path.isWellFormed()) throw invalidPath("it holds half a character");
  const bytes = typeof path === "string" ? new TextEncoder().encode(path) : Uint8Array.from(path);
  if (bytes.length === 0) throw invalidPath("it is empty");
  if (bytes.length > longestPathBytes) throw invalidPath(`it has ${bytes.length} bytes, more than ${longestPathBytes}`);
  if (bytes.includes(0)) throw invalidPath("it holds a NUL byte");
  return bytes;
}

function invalidPath(why: string): InstaVmError {
  return new InstaVmError("invalid", `The path inside the VM is wrong: ${why}.`);
}

/** A name of the guest as text, and its bytes when the text is not all of it. */
export interface GuestText {
  readonly text: string;
  readonly raw: Uint8Array | undefined;
}

/** A path of the guest; the caller checks whether it may be empty. Throws `guest_protocol` for what no path is. */
export function readGuestText(bytes: Uint8Array): GuestText {
  if (bytes.length > longestPathBytes) throw guestProtocolError(`a path of ${bytes.length} bytes`);
  if (bytes.includes(0)) throw guestProtocolError("a path with a NUL byte");
  try {
    return { text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes), raw: undefined };
  } catch {
    return { text: new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes), raw: bytes.slice() };
  }
}

/** A path of the guest as text. Throws `guest_protocol` for what no path is. */
export function readPath(bytes: Uint8Array): string {
  return readGuestText(bytes).text;
}

/** One name of the guest, never one that leads elsewhere. Throws `guest_protocol`. */
export function readName(bytes: Uint8Array): GuestText {
  if (bytes.length === 0 || bytes.length > longestNameBytes)
    throw guestProtocolError(`a name of ${bytes.length} bytes`);
  const name = readGuestText(bytes);
  if (bytes.includes(slash) && name.text !== "/") throw guestProtocolError("a name with a slash");
  if (name.text === "." || name.text === "..") throw guestProtocolError(`the name ${name.text}`);
  return name;
}
