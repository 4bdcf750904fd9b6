import { setImmediate as nextTurn } from "node:timers/promises";
import { InstaVmError } from "@instavm/contract";
import { ExecSchema } from "@instavm/protocol/guest";
import { describe, expect, it } from "vitest";
import type { FrameSession } from "./frame-session.ts";
import { fromHex } from "./golden/bytes.ts";
import { encoded } from "./golden/message-vector.ts";
import { goldenVectors } from "./golden/vectors.ts";
import type { GuestStream } from "./guest-stream.ts";
import { detachedFrames } from "./testing/detached-frames.ts";

const vectors = goldenVectors();
const toHost = vectors.sequences.filter((vector) => vector.receiver === "host");
const payload = encoded(ExecSchema, { argv: ["true"] });

const openStream = (frames: FrameSession, windowBytes: number): GuestStream =>
  frames.open(
    { subject: "exec", accepts: new Set(["stdout", "stderr", "started"]), inputFollows: true, windowBytes },
    { flags: 0, payload },
  );

/** Whether the session is still there, and why not. */
const stateOf = async (frames: FrameSession): Promise<"open" | Error | undefined> =>
  Promise.race([frames.closed, nextTurn("open" as const)]);

describe("a session of frames", () => {
  it.each(toHost.map((vector) => [`${vector.name} (${vector.why})`, vector] as const))(
    "judges %s",
    async (_, vector) => {
      const frames = detachedFrames();
      const streams = (vector.opened ?? []).map(({ creditBytes }) => openStream(frames, creditBytes));
      expect(streams.map((stream) => stream.id)).toEqual((vector.opened ?? []).map(({ streamId }) => streamId));
      for (let round = 0; round < (vector.repeat ?? 1); round += 1) frames.receive(fromHex(vector.hex));
      const state = await stateOf(frames);
      const seen = state instanceof InstaVmError ? state.code : state;
      expect(seen).toBe({ open: "open", closed: "guest_protocol" }[vector.expect]);
      frames.breakOff(new TypeError("the test is over"));
    },
  );

  const forHost = vectors.invalid.filter((vector) => vector.receiver !== "guest");
  it.each(forHost.map((vector) => [`${vector.name}: ${vector.why}`, vector] as const))(
    "ends on %s",
    async (_, vector) => {
      const frames = detachedFrames();
      const stream = openStream(frames, 1024);
      frames.receive(fromHex(vector.hex));
      await expect(stream.outcome).rejects.toMatchObject({ code: "guest_protocol" });
      await expect(stream.read()).rejects.toMatchObject({ code: "guest_protocol" });
      expect(() => openStream(frames, 1024)).toThrow(/broke the protocol/);
      expect(await frames.closed).toMatchObject({ code: "guest_protocol" });
    },
  );
});
