import { createServer } from "node:http";
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { buffer } from "node:stream/consumers";
import { InstaVm } from "../index.ts";

/** One request as it came. */
export interface Received {
  readonly method: string;
  readonly path: string;
  readonly contentType: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** Answers one request. */
export type Answerer = (received: Received, response: ServerResponse) => void;

/** A real HTTP server that answers as a test says. */
export class ScriptedServer implements AsyncDisposable {
  readonly received: Received[] = [];
  readonly #answer: Answerer;
  readonly #server = createServer((request, response) => void this.#take(request, response));

  private constructor(answer: Answerer) {
    this.#answer = answer;
  }

  /** On a port that is free, unless one is named. */
  static async start(answer: Answerer, port = 0): Promise<ScriptedServer> {
    const server = new ScriptedServer(answer);
    await new Promise<void>((resolve) => {
      server.#server.listen(port, "127.0.0.1", resolve);
    });
    return server;
  }

  get baseUrl(): string {
    const address = this.#server.address();
    return `http://127.0.0.1:${typeof address === "object" && address !== null ? String(address.port) : ""}`;
  }

  get client(): InstaVm {
    return new InstaVm({ baseUrl: this.baseUrl, apiKey: "key" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
    });
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = new Uint8Array(await buffer(request));
    const { method = "", url = "", headers } = request;
    const received = { method, path: url, contentType: headers["content-type"] ?? "", headers, body };
    this.received.push(received);
    this.#answer(received, response);
  }
}

/** Answers with JSON. */
export function sendJson(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

/** Answers with an error of the API. */
export function sendError(response: ServerResponse, status: number, code: string): void {
  sendJson(response, { detail: `It is ${code}.`, code, next: "Wait.", request_id: "r1" }, status);
}
