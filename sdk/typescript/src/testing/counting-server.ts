import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";

/** A real HTTP server that takes files and keeps nothing of them. */
export class CountingServer implements AsyncDisposable {
  readonly #onBytes: (bytes: number) => void;
  readonly #server = createServer((request, response) => this.#take(request, response));

  private constructor(onBytes: (bytes: number) => void) {
    this.#onBytes = onBytes;
  }

  /** Tells after each piece how many bytes of its request have come. */
  static async start(onBytes: (bytes: number) => void): Promise<CountingServer> {
    const server = new CountingServer(onBytes);
    await new Promise<void>((resolve) => {
      server.#server.listen(0, "127.0.0.1", resolve);
    });
    return server;
  }

  get baseUrl(): string {
    const address = this.#server.address();
    return `http://127.0.0.1:${typeof address === "object" && address !== null ? String(address.port) : ""}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
    });
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    let bytes = 0;
    request.on("data", (piece: Buffer) => {
      bytes += piece.length;
      this.#onBytes(bytes);
    });
    request.on("end", () => {
      response.writeHead(200, { "content-type": "application/json" });
      response.end(JSON.stringify({ path: "/app/large", size: bytes }));
    });
  }
}
