import { InstaVmError } from "@instavm/contract";

/** Cuts a byte stream into lines, and refuses one that is too long. */
export interface LineReader {
  /** The complete lines so far, without their ends. Throws `engine_failed` when a line is over the limit. */
  add(chunk: Buffer): readonly string[];
}

/** A reader of lines of at most `limitBytes`. */
export function readLines(limitBytes: number): LineReader {
  let rest: Buffer = Buffer.alloc(0);
  return {
    add(chunk) {
      const lines: string[] = [];
      let bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      for (let end = bytes.indexOf("\n"); end !== -1; end = bytes.indexOf("\n")) {
        lines.push(bytes.subarray(0, end).toString("utf8"));
        bytes = bytes.subarray(end + 1);
      }
      if (bytes.length > limitBytes) {
        throw new InstaVmError(
          "engine_failed",
          `QEMU's monitor sent a line of more than ${limitBytes} bytes; none is that long.`,
        );
      }
      rest = bytes;
      return lines;
    },
  };
}
