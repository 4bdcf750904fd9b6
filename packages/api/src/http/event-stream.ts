import type { FastifyReply } from "fastify";

/** How an event stream behaves. */
export interface EventStreamOptions {
  /** After so much silence a comment is sent, so that everybody on the way sees that the stream lives. */
  readonly heartbeatMs: number;
}

/**
 * An answer of server-sent events. What cannot be sent yet is waited for, so that a client that reads slowly slows
 * whoever sends, and never fills this program's memory. Disposing ends it.
 */
export class EventStream implements Disposable {
  readonly #reply: FastifyReply;
  readonly #heartbeatMs: number;
  #heartbeat: NodeJS.Timeout | undefined;

  constructor(reply: FastifyReply, { heartbeatMs }: EventStreamOptions) {
    this.#reply = reply;
    this.#heartbeatMs = heartbeatMs;
  }

  /** The head has been sent: no other answer is possible any more. */
  get isOpen(): boolean {
    return this.#heartbeat !== undefined;
  }

  /** Sends the head. */
  open(): void {
    if (this.isOpen) return;
    this.#reply.hijack();
    const { raw } = this.#reply;
    raw.writeHead(200, {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache, no-transform",
      // Some proxies hold answers back unless told not to.
      "x-accel-buffering": "no",
      "x-request-id": this.#reply.request.id,
    });
    raw.write(": open\n\n");
    this.#heartbeat = setInterval(() => this.#beat(), this.#heartbeatMs);
    this.#heartbeat.unref();
  }

  /** Sends one event with JSON data; the promise, if any, resolves when the next one may be sent. */
  send(event: string, data: unknown): void | Promise<void> {
    const { raw } = this.#reply;
    if (raw.destroyed) return undefined;
    this.#heartbeat?.refresh();
    return raw.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`) ? undefined : this.#drained();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#heartbeat);
    if (this.isOpen) this.#reply.raw.end();
  }

  #beat(): void {
    const { raw } = this.#reply;
    if (!raw.writableNeedDrain && !raw.destroyed) raw.write(": heartbeat\n\n");
  }

  /** Resolves also when the client has left: its call is then cancelled by its signal. */
  async #drained(): Promise<void> {
    const { raw } = this.#reply;
    const { promise, resolve } = Promise.withResolvers<void>();
    const done = (): void => resolve();
    raw.once("drain", done);
    raw.once("close", done);
    if (raw.destroyed) done();
    await promise;
    raw.off("drain", done);
    raw.off("close", done);
  }
}
