import type { CommandOutputEvents } from "@instavm/contract";

type Channel = "stdout" | "stderr";

/** Printed text with the place of its bytes in the command's output. */
export interface PlacedText {
  readonly channel: Channel;
  readonly data: CommandOutputEvents[Channel];
}

interface Held {
  readonly bytes: Buffer;
  /** Of its first byte. */
  readonly offset: number;
}

/** Makes whole characters of two channels' bytes, whatever the pieces that they come in, and keeps their offsets. */
export class OutputText {
  readonly #held = new Map<Channel, Held>();
  #offset = 0;

  /** Behind the last byte that came. */
  get offset(): number {
    return this.#offset;
  }

  /** The next bytes are at `offset`; what is held of characters will never become whole. */
  moveTo(offset: number): readonly PlacedText[] {
    const rest = this.rest();
    this.#offset = offset;
    return rest;
  }

  /** The text of some bytes; undefined when no character is whole yet. */
  take(channel: Channel, data: Uint8Array): PlacedText | undefined {
    const held = this.#held.get(channel) ?? { bytes: Buffer.alloc(0), offset: this.#offset };
    const bytes = Buffer.concat([held.bytes, data]);
    this.#offset += data.length;
    const whole = bytes.subarray(0, bytes.length - openTail(bytes));
    const tail = bytes.subarray(whole.length);
    this.#held.delete(channel);
    const nextOffset = this.#offset - tail.length;
    if (tail.length > 0) {
      // Of bytes that came together the last ones are the tail; alone they may be older than the other channel's.
      const offset = whole.length === 0 ? held.offset : nextOffset;
      this.#held.set(channel, { bytes: tail, offset });
    }
    if (whole.length === 0) return undefined;
    return { channel, data: { text: whole.toString(), offset: held.offset, next_offset: nextOffset } };
  }

  /** What is held of characters that never became whole. */
  rest(): readonly PlacedText[] {
    const rest = [...this.#held].map(([channel, { bytes, offset }]) => ({
      channel,
      data: { text: bytes.toString(), offset, next_offset: this.#offset },
    }));
    this.#held.clear();
    return rest;
  }
}

/** How many bytes at the end are the beginning of a character that more bytes may complete. */
function openTail(bytes: Uint8Array): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back += 1) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) return 0;
    if (byte >= 0xc0) return lengthOf(byte) > back ? back : 0;
  }
  return 0;
}

/** Of the character that this byte begins. */
function lengthOf(byte: number): number {
  if (byte >= 0xf0) return 4;
  return byte >= 0xe0 ? 3 : 2;
}
