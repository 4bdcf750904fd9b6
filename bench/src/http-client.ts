import { Agent, request } from "node:http";
import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";

/** A request whose body, and whose answer, need not be JSON. */
export interface RawRequest {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer | AsyncIterable<Uint8Array>;
}

/** A keep-alive HTTP client with nothing between it and the socket, so that what is timed is the server. */
export class HttpClient implements Disposable {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 256 });
  readonly #baseUrl: string;
  readonly #apiKey: string;
  readonly #silenceMs: number;

  /** `silenceMs`: a call on whose connection nothing moves for so long fails. */
  constructor(baseUrl: string, apiKey: string, { silenceMs = 120_000 }: { readonly silenceMs?: number } = {}) {
    this.#baseUrl = baseUrl;
    this.#apiKey = apiKey;
    this.#silenceMs = silenceMs;
  }

  /** Sends JSON and resolves with the parsed answer; rejects on any status but 200. */
  async call(method: "GET" | "POST", path: string, body?: unknown): Promise<Record<string, unknown>> {
    return parseObject(await this.#answer(method, path, body));
  }

  async text(path: string): Promise<string> {
    return this.#answer("GET", path);
  }

  /** Resolves with the answer as it begins; rejects on any status but 200. */
  async open({ method, path, headers = {}, body }: RawRequest): Promise<IncomingMessage> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const length: Record<string, string> =
      typeof body === "string" || Buffer.isBuffer(body) ? { "content-length": String(Buffer.byteLength(body)) } : {};
    const options = { method, agent: this.#agent, headers: { "x-api-key": this.#apiKey, ...length, ...headers } };
    const outgoing = request(new URL(path, this.#baseUrl), options, (incoming) => {
      if (incoming.statusCode === 200) resolve(incoming);
      else void bytesOf(incoming).then((seen) => reject(unexpected({ method, path }, incoming, seen)), reject);
    });
    outgoing.setTimeout(this.#silenceMs, () => outgoing.destroy(this.#silence(method, path)));
    outgoing.on("error", reject);
    if (body === undefined || typeof body === "string" || Buffer.isBuffer(body)) outgoing.end(body);
    else Readable.from(body, { objectMode: false }).on("error", reject).pipe(outgoing);
    return promise;
  }

  async #answer(method: "GET" | "POST", path: string, body?: unknown): Promise<string> {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const outgoing = request(
      new URL(path, this.#baseUrl),
      {
        method,
        agent: this.#agent,
        timeout: this.#silenceMs,
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
    outgoing.on("timeout", () => outgoing.destroy(this.#silence(method, path)));
    outgoing.on("error", reject);
    outgoing.end(payload);
    return promise;
  }

  #silence(method: string, path: string): Error {
    return new Error(`${method} ${path}: nothing moved for ${this.#silenceMs / 1000} s`);
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

/** The whole body of an answer. */
export async function bytesOf(incoming: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) if (Buffer.isBuffer(chunk)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function unexpected({ method, path }: RawRequest, { statusCode }: IncomingMessage, body: Buffer): Error {
  return new Error(`${method} ${path} answered ${String(statusCode)}: ${body.toString().slice(0, 500)}`);
}

/** Arrays are objects too: their rows are read by index. */
function parseObject(text: string): Record<string, unknown> {
  const parsed: unknown = JSON.parse(text);
  if (typeof parsed !== "object" || parsed === null)
    throw new Error(`the answer is no JSON object: ${text.slice(0, 200)}`);
  return Object.fromEntries(Object.entries(parsed));
}
