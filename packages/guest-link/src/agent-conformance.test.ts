import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { frameTypes } from "./frame.ts";
import { FrameDecoder } from "./frame-decoder.ts";
import { counting, frame, fromHex, hexOf } from "./golden/bytes.ts";
import { goldenVectors } from "./golden/vectors.ts";
import { encodeHello, WelcomeScanner } from "./handshake.ts";
import { type RealAgent, startAgent } from "./testing/real-agent.ts";

const vectors = goldenVectors();
let agent: RealAgent;

beforeAll(async () => {
  agent = await startAgent();
}, 600_000);
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
});

/** A welcomed connection of its own, ahead of whose frames the host's code does not stand. */
async function rawSession(): Promise<Socket & AsyncDisposable> {
  const socket = connect(agent.socketPath);
  await once(socket, "connect");
  const nonce = randomBytes(16);
  const scanner = new WelcomeScanner(nonce);
  socket.write(encodeHello(nonce));
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    if (chunk instanceof Uint8Array && scanner.push(chunk) !== undefined) break;
  }
  return Object.assign(socket, {
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
      if (!socket.closed) await once(socket, "close");
    },
  });
}

/** Whether the agent still answers a PING, or has left the session. */
async function stateAfter(bytes: Uint8Array): Promise<"open" | "closed"> {
  await using socket = await rawSession();
  const question = counting(8, 0xa0);
  socket.write(bytes);
  socket.write(frame({ streamId: 0, type: frameTypes.ping, payload: question }));
  const decoder = new FrameDecoder("host");
  let isAnswered = false;
  try {
    for await (const chunk of socket) {
      if (!(chunk instanceof Uint8Array)) continue;
      decoder.push(chunk, ({ type, payload }) => {
        isAnswered ||= type === frameTypes.pong && hexOf(payload) === hexOf(question);
        return !isAnswered;
      });
      if (isAnswered) return "open";
    }
  } catch {
    // The connection was reset, or its banner came in place of a frame.
  }
  return "closed";
}

describe("the real agent, held to the golden vectors", () => {
  const sequences = vectors.sequences.filter((vector) => vector.receiver === "guest");
  it.each(sequences.map((vector) => [`${vector.name} (${vector.why})`, vector] as const))(
    "judges %s",
    async (_, vector) => {
      expect(await stateAfter(fromHex(vector.hex.repeat(vector.repeat ?? 1)))).toBe(vector.expect);
    },
  );

  const invalid = vectors.invalid.filter((vector) => vector.receiver !== "host");
  it.each(invalid.map((vector) => [`${vector.name}: ${vector.why}`, vector] as const))(
    "leaves on %s",
    async (_, vector) => {
      expect(await stateAfter(fromHex(vector.hex))).toBe("closed");
      expect(agent.log()).toContain("the host broke the protocol");
    },
  );

  const scans = vectors.scans.filter((vector) => vector.reader === "guest" && vector.found);
  it.each(scans.map((vector) => [vector.name, vector] as const))("finds a %s", async (_, vector) => {
    const rest = fromHex(vector.restHex ?? "");
    const socket = connect(agent.socketPath);
    const scanner = new WelcomeScanner(fromHex(vector.nonceHex));
    socket.write(fromHex(vector.hex).subarray(0, -rest.length));
    let isWelcome = false;
    for await (const chunk of socket) {
      isWelcome = chunk instanceof Uint8Array && scanner.push(chunk) !== undefined;
      if (isWelcome) break;
    }
    expect(isWelcome).toBe(true);
  });
});
