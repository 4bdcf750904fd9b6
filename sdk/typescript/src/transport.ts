import { InstaVmError } from "@instavm/contract";
import type { Operation } from "@instavm/contract";
import type { z } from "zod";
import { environmentVariable } from "./environment.ts";
import { failureOfAnswer, failureOfConnection, failureOfDeadline, failureOfShape } from "./failure.ts";
import type { Asked } from "./failure.ts";
import type { RawBody } from "./file-source.ts";
import { parseJson } from "./json.ts";
import { randomUuid } from "./random-uuid.ts";
import { withRetries } from "./retries.ts";
import { chunksOf, serverEvents } from "./server-events.ts";
import type { ServerEvent } from "./server-events.ts";

/** What every method takes. */
export interface CallOptions {
  /** Ends the call; it then rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** How long to wait for the answer, all tries together, in ms. */
  readonly timeoutMs?: number;
}

export interface TransportOptions {
  /** By default the environment's INSTAVM_BASE_URL, then http://127.0.0.1:8222. */
  readonly baseUrl: string;
  /** By default the environment's INSTAVM_API_KEY. */
  readonly apiKey: string;
  /** In place of the global `fetch`. */
  readonly fetch: typeof fetch;
  /**
   * How often a call is sent again after a failure that may pass, by default 2: one that reads, deletes or creates, or that
   * the server has not seen or not begun.
   */
  readonly retries: number;
}

/** What an operation needs of its caller, in the server's own names. */
export interface OperationInput<Called extends Operation> {
  readonly params?: z.input<Called["params"]>;
  readonly query?: z.input<Called["query"]>;
  readonly body?: z.input<Called["body"]>;
  /** In place of a body, where the operation takes bytes or a form with a file. */
  readonly raw?: RawBody;
}

interface Outgoing {
  readonly method: string;
  readonly path: string;
  readonly accept: string;
  readonly body: RequestInit["body"] | undefined;
  readonly contentType: string | undefined;
  readonly range?: string | undefined;
  /** By this the server knows a request that it has done already. */
  readonly idempotencyKey?: string | undefined;
}

const defaultBaseUrl = "http://127.0.0.1:8222";
const defaultTimeoutMs = 30_000;
const defaultRetries = 2;
const eventStream = "text/event-stream";

/** Sends requests and turns their answers, or the lack of one, into values or InstaVmErrors. */
export class Transport {
  readonly #baseUrl: string;
  readonly #apiKey: string | undefined;
  readonly #fetch: typeof fetch;
  readonly #retries: number;

  constructor(options: Partial<TransportOptions>) {
    const baseUrl = options.baseUrl ?? environmentVariable("INSTAVM_BASE_URL") ?? defaultBaseUrl;
    this.#baseUrl = baseUrl.replace(/\/+$/, "");
    this.#apiKey = options.apiKey ?? environmentVariable("INSTAVM_API_KEY");
    this.#fetch = options.fetch ?? globalThis.fetch.bind(globalThis);
    this.#retries = options.retries ?? defaultRetries;
  }

  /** Does one operation. It is sent again, where that is safe, after a failure that may pass. */
  async call<Called extends Operation>(
    operation: Called,
    input: OperationInput<Called>,
    options: CallOptions,
  ): Promise<z.output<Called["answer"]>> {
    const outgoing = toOutgoing(operation, input);
    const wait = new Wait(options, this.#asked(outgoing, options));
    const text = await this.#tried(outgoing, wait, async (response) => await response.text());
    const answer = readAnswer<Called["answer"]>(operation.answer, text);
    if (answer.success) return answer.data;
    throw failureOfShape(this.#asked(outgoing, options), answer.error);
  }

  /** The same, for an operation that can answer with events, read as they come. Deadline and signal hold until the last. */
  async *events<Called extends Operation>(
    operation: Called,
    input: OperationInput<Called>,
    options: CallOptions,
  ): AsyncGenerator<ServerEvent, void, undefined> {
    const outgoing = { ...toOutgoing(operation, input), accept: eventStream };
    const asked = this.#asked(outgoing, options);
    const wait = new Wait(options, asked);
    const bytes = await this.#tried(outgoing, wait, async (response) => await eventBytes(response, asked));
    yield* wait.during(serverEvents(bytes));
  }

  /** The same, for an operation that answers with bytes, read as they come. Deadline and signal hold until the last. */
  async *bytes<Called extends Operation>(
    operation: Called,
    input: OperationInput<Called> & { readonly range?: string },
    options: CallOptions,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const outgoing = { ...toOutgoing(operation, input), accept: "*/*", range: input.range };
    const wait = new Wait(options, this.#asked(outgoing, options));
    const body = await this.#tried(outgoing, wait, async (response) => response.body);
    if (body === null) return;
    yield* wait.during(chunksOf(body));
  }

  /** What `read` makes of the answer of the first try that succeeds. */
  async #tried<Value>(outgoing: Outgoing, wait: Wait, read: (response: Response) => Promise<Value>): Promise<Value> {
    const once = async (): Promise<Value> =>
      await wait.until(async (signal) => await read(await this.#send(outgoing, signal)));
    const { signal, deadlineAtMs } = wait;
    // A stream is at its end when the first try has failed.
    const retries = outgoing.body instanceof ReadableStream ? 0 : this.#retries;
    const isRepeatable = ["GET", "DELETE"].includes(outgoing.method) || outgoing.idempotencyKey !== undefined;
    return await wait.until(async () => await withRetries(once, { retries, isRepeatable, signal, deadlineAtMs }));
  }

  async #send(outgoing: Outgoing, signal: AbortSignal): Promise<Response> {
    const response = await this.#fetch(this.#baseUrl + outgoing.path, {
      method: outgoing.method,
      headers: {
        accept: outgoing.accept,
        ...(this.#apiKey === undefined ? {} : { "x-api-key": this.#apiKey }),
        ...(outgoing.range === undefined ? {} : { range: outgoing.range }),
        ...(outgoing.idempotencyKey === undefined ? {} : { "idempotency-key": outgoing.idempotencyKey }),
        ...(outgoing.contentType === undefined ? {} : { "content-type": outgoing.contentType }),
      },
      signal,
      ...bodyInit(outgoing.body),
    });
    if (!response.ok) throw failureOfAnswer(response, await response.text());
    return response;
  }

  #asked(outgoing: Outgoing, options: CallOptions): Asked {
    const { method, path } = outgoing;
    return { baseUrl: this.#baseUrl, method, path, timeoutMs: options.timeoutMs ?? defaultTimeoutMs };
  }
}

/** One call's deadline and its caller's signal. */
class Wait {
  readonly signal: AbortSignal;
  /** As `performance.now()` counts. */
  readonly deadlineAtMs: number;
  readonly #asked: Asked;
  readonly #deadline: AbortSignal;
  readonly #caller: AbortSignal | undefined;

  constructor(options: CallOptions, asked: Asked) {
    this.#asked = asked;
    this.deadlineAtMs = performance.now() + asked.timeoutMs;
    this.#deadline = AbortSignal.timeout(Math.ceil(asked.timeoutMs));
    this.#caller = options.signal;
    this.signal = options.signal === undefined ? this.#deadline : AbortSignal.any([options.signal, this.#deadline]);
  }

  /** What stands behind a failure of fetch: the caller's own reason, the deadline or the connection. */
  async until<Value>(work: (signal: AbortSignal) => Promise<Value>): Promise<Value> {
    try {
      return await work(this.signal);
    } catch (cause) {
      this.#caller?.throwIfAborted();
      if (this.#deadline.aborted) throw failureOfDeadline(this.#asked, cause);
      throw cause instanceof InstaVmError ? cause : failureOfConnection(this.#asked, cause);
    }
  }

  /** The same for all that comes of a stream, which is closed when its reader leaves. */
  async *during<Value>(values: AsyncGenerator<Value, void, undefined>): AsyncGenerator<Value, void, undefined> {
    try {
      for (;;) {
        const next = await this.until(async () => await values.next());
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      await values.return();
    }
  }
}

/** What fetch wants to hear of a body. */
function bodyInit(body: RequestInit["body"] | undefined): RequestInit & { readonly duplex?: "half" } {
  if (body === undefined) return {};
  if (typeof body === "string") return { body };
  // Without the last two fetch keeps a copy of all that it has sent, for a redirect: a large file would fill the memory.
  return { body, duplex: "half", redirect: "error", window: null };
}

function readAnswer<Answer extends z.ZodType>(schema: Answer, text: string): z.ZodSafeParseResult<z.output<Answer>> {
  return schema.safeParse(parseJson(text));
}

async function eventBytes(response: Response, asked: Asked): Promise<ReadableStream<Uint8Array>> {
  const type = response.headers.get("content-type") ?? "no content type";
  if (type.startsWith(eventStream) && response.body !== null) return response.body;
  await response.body?.cancel();
  throw failureOfShape(asked, new InstaVmError("bad_gateway", `expected ${eventStream}, got ${type}`));
}

function toOutgoing(operation: Operation, input: OperationInput<Operation>): Outgoing {
  const query = new URLSearchParams(fieldsOf(input.query));
  const params = new Map(fieldsOf(input.params));
  const path = operation.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(params.get(name) ?? ""));
  return {
    method: operation.method,
    path: query.size === 0 ? path : `${path}?${query.toString()}`,
    accept: "application/json",
    ...(operation.hasIdempotencyKey === true ? { idempotencyKey: randomUuid() } : {}),
    ...(input.raw ?? bodyOf(operation, input.body)),
  };
}

function bodyOf(operation: Operation, body: unknown): Pick<Outgoing, "body" | "contentType"> {
  if (body === undefined) return { body: undefined, contentType: undefined };
  if (operation.bodyType === "application/x-www-form-urlencoded") {
    return { body: new URLSearchParams(fieldsOf(body)).toString(), contentType: operation.bodyType };
  }
  return { body: JSON.stringify(body), contentType: "application/json" };
}

/** Texts, numbers and flags, as text. */
function fieldsOf(value: unknown): [string, string][] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, field]: [string, unknown]): [string, string][] =>
    typeof field === "string" || typeof field === "number" || typeof field === "boolean" ? [[name, String(field)]] : [],
  );
}
