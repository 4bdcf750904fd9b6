import { Agent, request as httpRequest } from "node:http";
import type { IncomingMessage } from "node:http";
import type { FuzzRequest } from "./request.ts";

/** An answer, or what came instead of one. */
export interface FuzzAnswer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
  /** Not the whole: it is a stream without end, or very long. */
  readonly isCut: boolean;
}

const answerWithinMs = 30_000;
const streamForMs = 400;
const bodyLimitBytes = 4 * 1024 * 1024;

/** Sends requests over kept connections. */
export class Sender implements Disposable {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 4 });
  readonly #base: URL;

  constructor(baseUrl: string) {
    this.#base = new URL(baseUrl);
  }

  /** Rejects when no whole answer comes within 30 s, or the connection breaks. */
  async send(request: FuzzRequest): Promise<FuzzAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<FuzzAnswer>();
    const path = request.path + (request.query.length === 0 ? "" : `?${request.query.join("&")}`);
    const outgoing = httpRequest({
      agent: this.#agent,
      host: this.#base.hostname,
      port: this.#base.port,
      method: request.method,
      path,
      headers: headersOf(request),
    });
    const deadline = setTimeout(() => {
      reject(new Error(`no whole answer within ${String(answerWithinMs)} ms`));
      outgoing.destroy();
    }, answerWithinMs);
    outgoing.on("response", (incoming) => {
      void collect(incoming).then(resolve, reject);
    });
    outgoing.on("error", reject);
    outgoing.end(request.body);
    try {
      return await promise;
    } finally {
      clearTimeout(deadline);
    }
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

function headersOf({ headers, body }: FuzzRequest): Record<string, string | string[]> {
  const hasLength = headers["transfer-encoding"] === undefined && body !== undefined;
  return { ...headers, ...(hasLength ? { "content-length": String(body.length) } : {}) };
}

async function collect(incoming: IncomingMessage): Promise<FuzzAnswer> {
  const { statusCode: status = 0, headers } = incoming;
  const pieces: Buffer[] = [];
  let bytes = 0;
  let isCut = false;
  const cut = (): void => {
    isCut = true;
    incoming.destroy();
  };
  const isStream = headers["content-type"]?.startsWith("text/event-stream") === true;
  const timer = isStream ? setTimeout(cut, streamForMs) : undefined;
  try {
    for await (const piece of incoming) {
      if (!(piece instanceof Buffer)) continue;
      pieces.push(piece);
      bytes += piece.length;
      if (bytes > bodyLimitBytes) cut();
    }
  } catch (error) {
    if (!isCut) throw error;
  } finally {
    clearTimeout(timer);
  }
  return { status, headers, body: Buffer.concat(pieces), isCut };
}
