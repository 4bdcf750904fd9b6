import { InstaVmError } from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { encodeHeader, type Frame, frameTypes, limits, type Side } from "./frame.ts";
import { FrameDecoder } from "./frame-decoder.ts";
import { concat, fromHex, hexOf } from "./golden/bytes.ts";
import { goldenVectors } from "./golden/vectors.ts";

const vectors = goldenVectors();
const other = (side: Side): Side => (side === "host" ? "guest" : "host");

/** Decodes `bytes` in pieces of `pieceBytes` and keeps a copy of each frame. */
const decode = (receiver: Side, bytes: Uint8Array, pieceBytes = bytes.length): Frame[] => {
  const decoder = new FrameDecoder(receiver);
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    decoder.push(bytes.subarray(at, at + pieceBytes), (frame) => {
      frames.push({ ...frame, payload: frame.payload.slice() });
      return true;
    });
  }
  return frames;
};

const fieldsOf = (frame: Frame) => ({
  streamId: frame.streamId,
  type: frame.type,
  flags: frame.flags,
  payloadHex: hexOf(frame.payload),
});

const errorOf = (work: () => unknown): unknown => {
  try {
    work();
    return undefined;
  } catch (error) {
    return error;
  }
};

describe("the frame codec", () => {
  it.each(vectors.frames.map((vector) => [vector.name, vector] as const))("decodes and encodes %s", (_, vector) => {
    for (const sender of vector.from) {
      const [frame] = decode(other(sender), fromHex(vector.hex));
      expect(frame && fieldsOf(frame)).toEqual(vector.frame);
      expect(frame && hexOf(concat(encodeHeader(frame), frame.payload))).toBe(vector.hex);
    }
  });

  it.each(vectors.largeFrames.map((vector) => [vector.name, vector] as const))("bounds payloads: %s", (_, vector) => {
    const payload = new Uint8Array(vector.fill.length).fill(Number.parseInt(vector.fill.byteHex, 16));
    const bytes = concat(fromHex(vector.hex), payload);
    const seen = vector.from.map((sender) => {
      const error = errorOf(() => decode(other(sender), bytes, 5000));
      return error === undefined || (error instanceof InstaVmError && error.code);
    });
    expect(seen).toEqual(vector.from.map(() => vector.valid || "guest_protocol"));
  });

  const headerFaults = vectors.invalid.filter((vector) => vector.name !== "OPEN, undecodable");
  it.each(headerFaults.map((vector) => [`${vector.name}: ${vector.why}`, vector] as const))(
    "refuses %s",
    (_, vector) => {
      const receivers: Side[] = vector.receiver === "both" ? ["host", "guest"] : [vector.receiver];
      for (const receiver of receivers) {
        expect(errorOf(() => decode(receiver, fromHex(vector.hex)))).toMatchObject({ code: "guest_protocol" });
        expect(errorOf(() => decode(receiver, fromHex(vector.hex), 1))).toMatchObject({ code: "guest_protocol" });
      }
    },
  );

  it("finds the same frames whatever the pieces they come in", () => {
    const fromGuest = vectors.frames.filter((vector) => vector.from.includes("guest"));
    const bytes = concat(...fromGuest.map((vector) => fromHex(vector.hex)));
    for (const pieceBytes of [1, 2, 3, 7, 11, 12, 13, 64, 1000]) {
      expect(decode("host", bytes, pieceBytes).map(fieldsOf)).toEqual(fromGuest.map((vector) => vector.frame));
    }
  });

  it("drops what follows a frame at which the taker stops", () => {
    const decoder = new FrameDecoder("host");
    const pong = fromHex("000000000000000007000000");
    let taken = 0;
    decoder.push(concat(pong, pong, new Uint8Array(40).fill(0xff)), () => {
      taken += 1;
      return taken < 2;
    });
    expect(taken).toBe(2);
  });

  it("takes time in proportion to the bytes, not to the pieces times the bytes", () => {
    const length = limits.payloadBytes;
    const frame = concat(
      encodeHeader({ length, streamId: 1, type: frameTypes.end, flags: 0 }),
      new Uint8Array(length).fill(7),
    );
    const startedAtMs = performance.now();
    for (let round = 0; round < 4; round += 1) expect(decode("host", frame, 1)).toHaveLength(1);
    // A million one-byte pieces: well under a second when each byte is copied once, minutes when each piece copies all.
    expect(performance.now() - startedAtMs).toBeLessThan(10_000);
  });
});
