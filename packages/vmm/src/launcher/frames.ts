import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { InstaVmError } from "@instavm/contract";
import { RequestSchema, ResponseSchema } from "@instavm/protocol/launcher";
import type { Response } from "@instavm/protocol/launcher";

/** The longest message either side may send. */
export const frameLimitBytes = 1024 * 1024;
const headerBytes = 4;

/** A request as it goes over the wire: a 4-byte little-endian length and the message. */
export function encodeRequest(request: MessageInitShape<typeof RequestSchema>): Buffer {
  const body = toBinary(RequestSchema, create(RequestSchema, request));
  if (body.length > frameLimitBytes) {
    const seen = `a request of ${body.length} bytes`;
    throw new InstaVmError("engine_failed", `launcher: ${seen}, at most ${frameLimitBytes} can be sent`);
  }
  const frame = Buffer.alloc(headerBytes + body.length);
  frame.writeUInt32LE(body.length);
  frame.set(body, headerBytes);
  return frame;
}

/** Cuts a byte stream into responses; holds at most one frame and one chunk. */
export interface ResponseReader {
  /** The responses that the chunk completes. Throws `launcher_unreachable` on bytes that are none. */
  push(chunk: Buffer): readonly Response[];
}

export function responseReader(): ResponseReader {
  let held: Buffer = Buffer.alloc(0);
  return {
    push(chunk) {
      held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      const responses: Response[] = [];
      for (let frame = takeFrame(held); frame !== undefined; frame = takeFrame(held)) {
        responses.push(decode(frame));
        held = held.subarray(headerBytes + frame.length);
      }
      return responses;
    },
  };
}

function takeFrame(bytes: Buffer): Buffer | undefined {
  if (bytes.length < headerBytes) return undefined;
  const length = bytes.readUInt32LE();
  if (length > frameLimitBytes) {
    throw new InstaVmError(
      "launcher_unreachable",
      `launcher sent ${length} bytes at once, at most ${frameLimitBytes} are expected`,
    );
  }
  return bytes.length < headerBytes + length ? undefined : bytes.subarray(headerBytes, headerBytes + length);
}

function decode(frame: Buffer): Response {
  try {
    return fromBinary(ResponseSchema, frame);
  } catch (cause) {
    throw new InstaVmError("launcher_unreachable", "launcher sent bytes that are no response", { cause });
  }
}
