import { setTimeout as sleep } from "node:timers/promises";
import { eventsOf, type StreamedEvent, textOf } from "./event-stream.ts";
import { rawCall, type RawAnswer, type RawRequest } from "./raw-call.ts";
import type { RealServer } from "./real-server.ts";
import { TestSession } from "./test-session.ts";

/** A part of a command's output, and how the stream of it ended. */
export interface ReadOutput {
  readonly events: readonly StreamedEvent[];
  readonly stdout: string;
  readonly stderr: string;
  /** The last event. */
  readonly end: StreamedEvent | undefined;
}

/** One VM over plain HTTP. Disposing of it ends it. */
export class VmApi implements AsyncDisposable {
  readonly session: TestSession;
  readonly #server: RealServer;

  private constructor(server: RealServer, session: TestSession) {
    this.#server = server;
    this.session = session;
  }

  /** Resolves when it is ready. */
  static async open(server: RealServer): Promise<VmApi> {
    return new VmApi(server, await TestSession.open(server));
  }

  /** Asks for something below /v1/vms/{vm_id}. */
  async call(rest: string, request: RawRequest = {}): Promise<RawAnswer> {
    return await rawCall(this.#server, this.#path(rest), request);
  }

  /** As `call`, for the JSON of a success. */
  async json(rest: string, request: RawRequest = {}): Promise<unknown> {
    const { status, body } = await this.call(rest, request);
    if (status !== 200) throw new Error(`${String(status)}: ${JSON.stringify(body)}`);
    return body;
  }

  /** Makes a context; resolves with its id. */
  async context(body: Readonly<Record<string, unknown>>): Promise<string> {
    const made = await this.json("/contexts", { body });
    return field(made, "context_id", "");
  }

  /** Runs code in a context. */
  async run(contextId: string, command: string): Promise<RawAnswer["body"]> {
    const body = { session_id: this.session.sessionId, context_id: contextId, command };
    return (await rawCall(this.#server, "/execute", { body })).body;
  }

  /** Starts a command; resolves with its id. */
  async start(body: Readonly<Record<string, unknown>>): Promise<number> {
    return field(await this.json("/commands", { body }), "command_id", 0);
  }

  /** Writes to the stdin of a command. */
  async write(id: number, text: string, query = ""): Promise<unknown> {
    const headers = { "x-api-key": this.#server.apiKey, "content-type": "application/octet-stream" };
    return await this.json(`/commands/${String(id)}/stdin${query}`, { body: text, headers });
  }

  /** Opens a stream of output. */
  async openOutput(id: number, query = "", signal: AbortSignal = AbortSignal.timeout(170_000)): Promise<Response> {
    const headers = { "x-api-key": this.#server.apiKey };
    const url = `${this.#server.baseUrl}${this.#path(`/commands/${String(id)}/output?${query}`)}`;
    return await fetch(url, { headers, signal });
  }

  /** Reads output to the end of its stream. */
  async read(id: number, query = ""): Promise<ReadOutput> {
    const events = eventsOf(await (await this.openOutput(id, query)).text());
    return { events, stdout: textOf(events, "stdout"), stderr: textOf(events, "stderr"), end: events.at(-1) };
  }

  /** Resolves when the command's output until now has these words. */
  async until(id: number, words: string): Promise<void> {
    for (const untilMs = Date.now() + 60_000; Date.now() < untilMs; await sleep(20)) {
      if ((await this.read(id, "follow=false")).stdout.includes(words)) return;
    }
    throw new Error(`never printed: ${words}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.session[Symbol.asyncDispose]();
  }

  #path(rest: string): string {
    return `/v1/vms/${String(this.session.vmId)}${rest}`;
  }
}

function field<T extends string | number>(body: unknown, name: string, like: T): T {
  const value: unknown = typeof body === "object" && body !== null ? Reflect.get(body, name) : undefined;
  const isLike = (one: unknown): one is T => typeof one === typeof like;
  if (isLike(value)) return value;
  throw new Error(`no ${name} in ${JSON.stringify(body)}`);
}
