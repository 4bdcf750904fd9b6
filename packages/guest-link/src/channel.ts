import type { Duplex } from "node:stream";

/** Below this many bytes the writes of one tick are joined to one buffer; above, they go out as they are. */
const joinedWriteBytes = 16 * 1024;
/** Who sends data waits while more than this is unsent. */
const fullBacklogBytes = 1024 * 1024;

/** What a channel tells its owner. */
export interface ChannelEvents {
  readonly data: (chunk: Uint8Array) => void;
  /** Once, after the last data. */
  readonly closed: (error: Error | undefined) => void;
}

/** A connected socket whose writes of one tick go out in one system call. */
export class Channel {
  readonly #socket: Duplex;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #error: Error | undefined;
  #waiters: (() => void)[] = [];

  constructor(socket: Duplex, events: ChannelEvents) {
    this.#socket = socket;
    socket.on("data", events.data);
    socket.on("drain", () => this.#wake());
    socket.on("error", (error) => {
      this.#error = error;
    });
    socket.on("close", () => {
      this.#wake();
      events.closed(this.#error);
    });
  }

  /** Bytes that the operating system has not taken yet. */
  get backlogBytes(): number {
    return this.#pendingBytes + this.#socket.writableLength;
  }

  write(...parts: readonly Uint8Array[]): void {
    if (this.#socket.destroyed) return;
    if (this.#pending.length === 0) process.nextTick(() => this.#flush());
    for (const part of parts) {
      if (part.length === 0) continue;
      this.#pending.push(part);
      this.#pendingBytes += part.length;
    }
  }

  /** Resolves when little enough is unsent, or the socket is closed. */
  async ready(): Promise<void> {
    while (this.backlogBytes > fullBacklogBytes && !this.#socket.destroyed) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.push(resolve);
      await promise;
    }
  }

  /** Sends what is pending, then closes. */
  end(): void {
    this.#flush();
    this.#socket.end(() => this.#socket.destroy());
  }

  destroy(): void {
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#socket.destroy();
  }

  #flush(): void {
    const parts = this.#pending;
    const bytes = this.#pendingBytes;
    if (parts.length === 0) return;
    this.#pending = [];
    this.#pendingBytes = 0;
    if (this.#socket.destroyed) return;
    if (bytes <= joinedWriteBytes) {
      this.#socket.write(Buffer.concat(parts, bytes));
      return;
    }
    this.#socket.cork();
    for (const part of parts) this.#socket.write(part);
    this.#socket.uncork();
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }
}
