import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { type Open, OpenSchema, OutcomeSchema, OutputSchema } from "@instavm/protocol/guest";
import { encodeHeader, type Frame, frameTypes } from "../frame.ts";
import { FrameDecoder } from "../frame-decoder.ts";
import { ascii, concat, u16 } from "../golden/bytes.ts";

const helloBytes = 25;

/** The guest's end of one connection, for tests of what no real agent does. */
class PeerConnection {
  readonly socket: Socket;
  readonly #decoder = new FrameDecoder("guest");
  #unread: Uint8Array = new Uint8Array(0);
  #frames: Frame[] = [];

  constructor(socket: Socket) {
    this.socket = socket;
    // What the other side does with the connection is the test's subject, not a fault of the peer.
    socket.on("error", () => {});
    socket.pause();
  }

  /** Reads the hello and returns its nonce. */
  async hello(): Promise<Uint8Array> {
    while (this.#unread.length < helloBytes) this.#unread = concat(this.#unread, await this.#chunk());
    const hello = this.#unread.subarray(0, helloBytes);
    this.#unread = this.#unread.subarray(helloBytes);
    return hello.slice(5, 21);
  }

  /** Hello and welcome. */
  async greet(): Promise<void> {
    this.welcome(await this.hello());
  }

  welcome(nonce: Uint8Array, version = 1): void {
    this.write(concat(ascii("IVM1W"), nonce, u16(version), u16(0)));
  }

  banner(): void {
    this.write(concat(ascii("IVM1B"), new Uint8Array(16).fill(0xbb)));
  }

  write(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  send(streamId: number, type: number, payload: Uint8Array = new Uint8Array(0)): void {
    this.write(concat(encodeHeader({ length: payload.length, streamId, type, flags: 0 }), payload));
  }

  output(streamId: number, output: NonNullable<MessageInitShape<typeof OutputSchema>["output"]>): void {
    this.send(streamId, frameTypes.message, toBinary(OutputSchema, create(OutputSchema, { output })));
  }

  end(streamId: number, outcome: NonNullable<MessageInitShape<typeof OutcomeSchema>["outcome"]>): void {
    this.send(streamId, frameTypes.end, toBinary(OutcomeSchema, create(OutcomeSchema, { outcome })));
  }

  /** The next frame of the host; rejects when the connection has ended. */
  async frame(): Promise<Frame> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame !== undefined) return frame;
      const chunk = this.#unread.length > 0 ? this.#unread : await this.#chunk();
      this.#unread = new Uint8Array(0);
      this.#decoder.push(chunk, (decoded) => {
        this.#frames.push({ ...decoded, payload: decoded.payload.slice() });
        return true;
      });
    }
  }

  /** The next frame, which must be an OPEN. */
  async opened(): Promise<{ readonly streamId: number; readonly flags: number; readonly open: Open }> {
    const { streamId, type, flags, payload } = await this.frame();
    if (type !== frameTypes.open) throw new TypeError(`expected OPEN, got a frame of type ${type}`);
    return { streamId, flags, open: fromBinary(OpenSchema, payload) };
  }

  /** Reads on until the host leaves, and lets it go in order. */
  async letGo(): Promise<void> {
    for (;;) {
      const { type } = await this.frame();
      if (type === frameTypes.detach) break;
    }
    this.send(0, frameTypes.detached);
  }

  /** Resolves when the host has closed its end. */
  async closed(): Promise<void> {
    this.socket.resume();
    if (!this.socket.closed) await once(this.socket, "close");
  }

  async #chunk(): Promise<Uint8Array> {
    for (;;) {
      const chunk: unknown = this.socket.read();
      if (chunk instanceof Uint8Array) return chunk;
      if (this.socket.readableEnded || this.socket.destroyed) throw new TypeError("the host closed the connection");
      await Promise.race([once(this.socket, "readable"), once(this.socket, "close")]);
    }
  }
}

/** What a peer does with its connections, in order; the last one is repeated. */
export type PeerScript = (connection: PeerConnection) => Promise<void> | void;

/** A listening peer and what came to it. */
export interface FaultPeer extends AsyncDisposable {
  readonly socketPath: string;
  /** Every connection so far, with its arrival in ms. */
  readonly connections: readonly { readonly peer: PeerConnection; readonly atMs: number }[];
  /** Rejects with what a script failed with; resolves when those begun are through. */
  finished(): Promise<void>;
}

/** Listens on a Unix socket of its own. */
export async function faultPeer(...scripts: readonly PeerScript[]): Promise<FaultPeer> {
  const directory = await mkdtemp(join(tmpdir(), "instavm-peer-"));
  const socketPath = join(directory, "agent.sock");
  const connections: { peer: PeerConnection; atMs: number }[] = [];
  const runs: Promise<void>[] = [];
  const server = createServer((socket) => {
    const peer = new PeerConnection(socket);
    const script = scripts[Math.min(connections.length, scripts.length - 1)];
    connections.push({ peer, atMs: performance.now() });
    const run = (async () => script?.(peer))();
    run.catch(() => {});
    runs.push(run);
  });
  server.listen(socketPath);
  await once(server, "listening");
  return {
    socketPath,
    connections,
    finished: async () => {
      await Promise.all(runs);
    },
    [Symbol.asyncDispose]: async () => {
      for (const { peer } of connections) peer.socket.destroy();
      server.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
