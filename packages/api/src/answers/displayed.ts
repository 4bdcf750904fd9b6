import type { Displayed } from "@instavm/contract";
import type { ExecuteResult } from "@instavm/core";

/** Things that code displayed, as the API lists them: each form of each thing by itself. */
export function* displayedForms(results: ExecuteResult["results"]): Generator<Displayed, void, undefined> {
  for (const [display, { isResult, data }] of results.entries()) {
    for (const [type, bytes] of data) yield { type, data: formText(type, bytes), display, is_result: isResult };
  }
}

/** Text as it is, with U+FFFD for what is not UTF-8; what is no text as base64. */
function formText(type: string, bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return buffer.toString(isBinary(type) ? "base64" : "utf8");
}

function isBinary(type: string): boolean {
  if (type.startsWith("image/")) return !type.startsWith("image/svg+xml");
  return /^(?:audio|video|font)\/|^application\/(?:pdf|octet-stream|zip|gzip)(?:$|;)/.test(type);
}
