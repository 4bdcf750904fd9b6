import { Agent, request } from "node:http";

/** A keep-alive HTTP client with nothing between it and the socket, so that what is timed is the server. */
export class HttpClient implements Disposable {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 256 });
  readonly #baseUrl: string;
  readonly #apiKey: string;

  constructor(baseUrl: string, apiKey: string) {
    this.#baseUrl = baseUrl;
    this.#apiKey = apiKey;
  }

  /** Sends JSON and resolves with the parsed answer; rejects on any status but 200. */
  async call(method: "GET" | "POST", path: string, body?: unknown): Promise<Record<string, unknown>> {
    return parseObject(await this.#answer(method, path, body));
  }

  async text(path: string): Promise<string> {
    return this.#answer("GET", path);
  }

  async #answer(method: "GET" | "POST", path: string, body?: unknown): Promise<string> {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const outgoing = request(
      new URL(path, this.#baseUrl),
      {
        method,
        agent: this.#agent,
        timeout: 120_000,
        headers: {
          "x-api-key": this.#apiKey,
          ...(payload === undefined
            ? {}
            : { "content-type": "application/json", "content-length": Buffer.byteLength(payload) }),
        },
      },
      (incoming) => {
        const chunks: Buffer[] = [];
        incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
        incoming.on("error", reject);
        incoming.on("end", () => {
          const text = Buffer.concat(chunks).toString();
          if (incoming.statusCode !== 200) {
            reject(new Error(`${method} ${path} answered ${incoming.statusCode ?? 0}: ${text.slice(0, 500)}`));
            return;
          }
          resolve(text);
        });
      },
    );
    outgoing.on("timeout", () => outgoing.destroy(new Error(`${method} ${path}: no answer within 120 s`)));
    outgoing.on("error", reject);
    outgoing.end(payload);
    return promise;
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

/** Arrays are objects too: their rows are read by index. */
function parseObject(text: string): Record<string, unknown> {
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed !== "object" || parsed === null)
    throw new Error(`the answer is no JSON object: ${text.slice(0, 200)}`);
  return Object.fromEntries(Object.entries(parsed));
}
