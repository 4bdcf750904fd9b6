import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { buffer } from "node:stream/consumers";

/** What the proxy does to one request: `forgets` passes it on and hangs up on the answer, `refuses` never passes it on. */
export type Mishap = "forgets" | "refuses" | "none";

/** Stands before a server and does to its requests, one after the other, what a test says; then it is a good proxy. */
export class ForgetfulProxy implements AsyncDisposable {
  readonly #target: string;
  readonly #mishaps: Mishap[];
  readonly #server = createServer((request, response) => void this.#pass(request, response));
  /** Idempotency keys of the requests, in order. */
  readonly keys: (string | string[] | undefined)[] = [];

  private constructor(target: string, mishaps: readonly Mishap[]) {
    this.#target = target;
    this.#mishaps = [...mishaps];
  }

  static async start(target: string, mishaps: readonly Mishap[]): Promise<ForgetfulProxy> {
    const proxy = new ForgetfulProxy(target, mishaps);
    await new Promise<void>((resolve) => {
      proxy.#server.listen(0, "127.0.0.1", resolve);
    });
    return proxy;
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

  async #pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "GET", url = "/", headers } = request;
    this.keys.push(headers["idempotency-key"]);
    const mishap = this.#mishaps.shift() ?? "none";
    const body = await buffer(request);
    if (mishap === "refuses") {
      response.writeHead(502).end("<html>bad gateway</html>");
      return;
    }
    const kept = ["x-api-key", "idempotency-key", "content-type"].flatMap((name) => {
      const value = headers[name];
      return typeof value === "string" ? [[name, value] as const] : [];
    });
    const hasBody = body.length > 0;
    const init = { method, headers: Object.fromEntries(kept), ...(hasBody ? { body: new Uint8Array(body) } : {}) };
    const answer = await fetch(this.#target + url, init);
    const text = await answer.text();
    if (mishap === "forgets") response.destroy();
    else response.writeHead(answer.status, { "content-type": "application/json" }).end(text);
  }
}
