import { limits } from "./frame.ts";
import { guestProtocolError, guestUnreachableError } from "./link-errors.ts";

const protocolVersion = 1;
const nonceBytes = 16;
const recordBytes = 25;

/** The host's first bytes on a connection. `nonce` is 16 random bytes. */
export function encodeHello(nonce: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(recordBytes);
  bytes.write("IVM1H", "ascii");
  bytes.set(nonce.subarray(0, nonceBytes), 5);
  bytes.writeUInt16LE(protocolVersion, 5 + nonceBytes);
  return bytes;
}

/** Finds the welcome that answers one hello; whatever precedes it belongs to earlier sessions. */
export class WelcomeScanner {
  readonly #pattern: Buffer;
  /** The end of what was read, as far as it can be the start of the welcome. */
  #tail = Buffer.alloc(0);
  #skippedBytes = 0;

  constructor(nonce: Uint8Array) {
    this.#pattern = Buffer.concat([Buffer.from("IVM1W", "ascii"), nonce.subarray(0, nonceBytes)]);
  }

  /**
   * Returns what follows the welcome once it is whole, until then undefined. Throws `guest_protocol` when the agent
   * speaks another version, `guest_unreachable` when there is too much before it.
   */
  push(chunk: Uint8Array): Uint8Array | undefined {
    const bytes = Buffer.concat([this.#tail, chunk]);
    const found = bytes.indexOf(this.#pattern);
    if (found >= 0 && bytes.length - found >= recordBytes) {
      const version = bytes.readUInt16LE(found + this.#pattern.length);
      if (version !== protocolVersion) {
        throw guestProtocolError(`it speaks version ${version}; expected ${protocolVersion}`);
      }
      return bytes.subarray(found + recordBytes);
    }
    const kept = found >= 0 ? found : Math.max(0, bytes.length - this.#pattern.length + 1);
    this.#skippedBytes += kept;
    this.#tail = Buffer.from(bytes.subarray(kept));
    if (this.#skippedBytes > limits.skippedBytes) {
      throw guestUnreachableError(`${this.#skippedBytes} bytes came and no welcome among them`);
    }
    return undefined;
  }
}
