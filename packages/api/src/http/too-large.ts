import { InstaVmError } from "@instavm/contract";

/** `bytes` may be NaN when the size is not known. */
export function tooLarge(subject: string, bytes: number, limitBytes: number): InstaVmError {
  const seen = Number.isFinite(bytes) ? `has ${bytes} bytes` : "is larger than that";
  return new InstaVmError("too_large", `${subject} ${seen}; at most ${limitBytes} bytes are accepted.`);
}
