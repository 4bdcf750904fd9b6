import type { RealServer } from "./real-server.ts";

/** An answer as any HTTP client sees it. */
export interface RawAnswer {
  readonly status: number;
  readonly headers: Headers;
  /** The body's JSON. */
  readonly body: unknown;
}

/** What a call sends besides its path: by default a GET with the admin's key. */
export interface RawRequest {
  readonly method?: string;
  /** A text goes as it is, anything else as JSON. */
  readonly body?: unknown;
  /** In place of the key. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** One HTTP call without the TypeScript client between. Follows no redirect. Throws when the answer is not JSON. */
export async function rawCall(server: RealServer, path: string, request: RawRequest = {}): Promise<RawAnswer> {
  const { body, method = body === undefined ? "GET" : "POST", headers = { "x-api-key": server.apiKey } } = request;
  const response = await fetch(server.baseUrl + path, {
    method,
    redirect: "error",
    signal: AbortSignal.timeout(120_000),
    headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const parsed: unknown = JSON.parse(await response.text());
  return { status: response.status, headers: response.headers, body: parsed };
}
