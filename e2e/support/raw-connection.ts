import { connect } from "node:net";
import type { Socket } from "node:net";
import type { RealServer } from "./real-server.ts";

/** A connection on which a test writes its own bytes, and sees what comes back. */
export class RawConnection implements Disposable {
  readonly socket: Socket;
  readonly #closed = Promise.withResolvers<void>();
  /** All that has come so far. */
  received = "";

  constructor(server: RealServer) {
    const { hostname, port } = new URL(server.baseUrl);
    this.socket = connect(Number(port), hostname);
    this.socket.setEncoding("latin1");
    this.socket.on("data", (data: string) => (this.received += data));
    this.socket.on("error", () => undefined);
    this.socket.on("close", () => this.#closed.resolve());
  }

  /** Writes a request's head: its first line, then its headers, each a whole line. */
  head(line: string, headers: readonly string[]): this {
    this.socket.write(`${[`${line} HTTP/1.1`, "host: test", ...headers].join("\r\n")}\r\n\r\n`, "latin1");
    return this;
  }

  /** Resolves when the server has closed. */
  async closed(): Promise<string> {
    await this.#closed.promise;
    return this.received;
  }

  /** Resolves when so much has come that the condition holds, or the connection is closed. */
  async until(isEnough: (received: string) => boolean): Promise<string> {
    while (!isEnough(this.received) && !this.socket.destroyed) await new Promise((wake) => setTimeout(wake, 10));
    return this.received;
  }

  /** Resolves with the status of the first answer and its JSON. */
  async answer(): Promise<{ readonly status: number; readonly body: unknown }> {
    await this.until((received) => {
      const length = Number(/content-length: (\d+)/i.exec(received)?.[1] ?? Number.NaN);
      const start = received.indexOf("\r\n\r\n");
      return start >= 0 && received.length >= start + 4 + length;
    });
    const [, status = "0"] = /^HTTP\/1\.1 (\d+) /.exec(this.received) ?? [];
    const text = this.received.slice(this.received.indexOf("\r\n\r\n") + 4);
    const body: unknown = text === "" ? undefined : JSON.parse(text);
    return { status: Number(status), body };
  }

  /** Leaves: with a reset, as a client that dies, or politely. */
  vanish(how: "reset" | "close"): void {
    if (how === "reset") this.socket.resetAndDestroy();
    else this.socket.destroy();
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}
