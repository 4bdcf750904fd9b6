import { Duplex } from "node:stream";
import { Channel } from "../channel.ts";
import { FrameSession } from "../frame-session.ts";
import { ascii, concat, u16 } from "../golden/bytes.ts";

const nonce = new Uint8Array(16).fill(0x4e);

/** A welcomed session on a line that leads nowhere; bytes of the agent go in with `receive`. */
export function detachedFrames(keepaliveMs = 60_000): FrameSession {
  const line = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() });
  const channel = new Channel(line, { data: () => {}, closed: () => {} });
  const frames = new FrameSession(channel, { nonce, keepaliveMs });
  frames.receive(concat(ascii("IVM1W"), nonce, u16(1), u16(0)));
  return frames;
}
