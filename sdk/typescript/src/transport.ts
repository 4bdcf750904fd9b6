import { InstaVmError, errorBodySchema, errorTable } from "@instavm/contract";
import type { ErrorCode } from "@instavm/contract";
import type { z } from "zod";

/** What every method takes. */
export interface CallOptions {
  readonly signal?: AbortSignal;
  /** How long to wait for the answer, in ms. */
  readonly timeoutMs?: number;
}

export interface TransportOptions {
  /** By default http://127.0.0.1:8222. */
  readonly baseUrl: string;
  readonly apiKey: string;
  /** In place of the global `fetch`. */
  readonly fetch: typeof fetch;
}

interface Call<Answer extends z.ZodType> {
  readonly method: "GET" | "POST" | "DELETE";
  readonly path: string;
  readonly body?: unknown;
  readonly answer: Answer;
}

const defaultTimeoutMs = 30_000;

/** Sends one request and turns its answer, or the lack of one, into a value or an InstaVmError. */
export class Transport {
  readonly #baseUrl: string;
  readonly #apiKey: string | undefined;
  readonly #fetch: typeof fetch;

  constructor(options: Partial<TransportOptions>) {
    this.#baseUrl = (options.baseUrl ?? "http://127.0.0.1:8222").replace(/\/+$/, "");
    this.#apiKey = options.apiKey;
    this.#fetch = options.fetch ?? globalThis.fetch;
  }

  async call<Answer extends z.ZodType>(call: Call<Answer>, options: CallOptions): Promise<z.output<Answer>> {
    const { response, text } = await this.#exchange(call, options);
    const body = parseJson(text);
    if (!response.ok) throw toError(response, body);
    const answer = call.answer.safeParse(body);
    if (answer.success) return answer.data;
    throw new InstaVmError(
      "bad_gateway",
      `${call.method} ${this.#baseUrl}${call.path} answered something that is not InstaVM's: ${answer.error.message}`,
      {
        cause: answer.error,
      },
    );
  }

  async #exchange(call: Call<z.ZodType>, options: CallOptions): Promise<{ response: Response; text: string }> {
    const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    const deadline = AbortSignal.timeout(timeoutMs);
    const signal = options.signal === undefined ? deadline : AbortSignal.any([options.signal, deadline]);
    try {
      const response = await this.#fetch(this.#baseUrl + call.path, {
        method: call.method,
        headers: this.#headers(call),
        signal,
        ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
      });
      return { response, text: await response.text() };
    } catch (cause) {
      options.signal?.throwIfAborted();
      if (deadline.aborted) {
        throw new InstaVmError(
          "timeout",
          `${this.#baseUrl} did not answer ${call.method} ${call.path} within ${timeoutMs} ms.`,
          { cause },
        );
      }
      if (isStringTooLong(cause)) {
        throw new InstaVmError(
          "too_large",
          `The answer to ${call.method} ${call.path} is longer than the longest text that JavaScript can hold.`,
          { next: "Print less: bytes that are no text, such as NULs, take six times their size in JSON.", cause },
        );
      }
      throw new InstaVmError("unavailable", `The server at ${this.#baseUrl} cannot be reached: ${reason(cause)}.`, {
        next: "Start it with `instavm server`, or correct the base URL.",
        cause,
      });
    }
  }

  #headers(call: Call<z.ZodType>): Record<string, string> {
    return {
      accept: "application/json",
      ...(this.#apiKey === undefined ? {} : { "x-api-key": this.#apiKey }),
      ...(call.body === undefined ? {} : { "content-type": "application/json" }),
    };
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function toError(response: Response, body: unknown): InstaVmError {
  const parsed = errorBodySchema.safeParse(body);
  if (!parsed.success) {
    return new InstaVmError("bad_gateway", `${response.url} answered ${response.status} without InstaVM's error body.`);
  }
  const { detail, code, next, request_id: requestId, errors } = parsed.data;
  const retryAfterS = Number(response.headers.get("retry-after") ?? Number.NaN);
  return new InstaVmError(isErrorCode(code) ? code : codeForStatus(response.status), detail, {
    next,
    requestId,
    ...(errors === undefined ? {} : { errors }),
    ...(Number.isFinite(retryAfterS) ? { retryAfterS } : {}),
  });
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorTable, code);
}

/** For a code of a newer server: the nearest one that this client knows. */
function codeForStatus(status: number): ErrorCode {
  if (status === 404) return "not_found";
  return status < 500 ? "bad_request" : "internal";
}

function isStringTooLong(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ERR_STRING_TOO_LONG";
}

/** `fetch` says "fetch failed" and keeps the reason in the cause. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.cause instanceof AggregateError && error.cause.errors.length > 0) return reason(error.cause.errors[0]);
  return error.cause instanceof Error ? reason(error.cause) : error.message;
}
