import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { buffer } from "node:stream/consumers";

/** What the stand-in answers to the next `POST /execute`, over a plain success. */
export type ExecuteAnswer = Readonly<Record<string, unknown>>;

/** One request as it came. */
export interface Received {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  readonly contentType: string;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** An HTTP server that answers as InstaVM does, without VMs: the CLI's other end in its own tests. */
export class StandInServer implements AsyncDisposable {
  readonly #server = createServer((request, response) => void this.#answer(request, response));
  readonly #live = new Set<string>();
  #created = 0;
  /** Bodies of the executes that it got. */
  readonly executed: Record<string, unknown>[] = [];
  /** Keys of all requests that it got. */
  readonly keys = new Set<string>();
  answer: ExecuteAnswer = {};
  /** Never answers an execute while set. */
  silent = false;
  /** All requests that it got. */
  readonly received: Received[] = [];
  /** Asked first: answers and returns true, or returns false. */
  respond: (received: Received, response: ServerResponse) => boolean = () => false;

  static async start(): Promise<StandInServer> {
    const server = new StandInServer();
    await new Promise<void>((resolve) => {
      server.#server.listen(0, "127.0.0.1", resolve);
    });
    return server;
  }

  get baseUrl(): string {
    const address = this.#server.address();
    return `http://127.0.0.1:${typeof address === "object" && address !== null ? String(address.port) : ""}`;
  }

  /** The session ends on the server's side. */
  expireAll(): void {
    this.#live.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.keys.add(String(request.headers["x-api-key"]));
    const received = await receive(request);
    this.received.push(received);
    if (this.respond(received, response)) return;
    const fields = jsonOf(received);
    const path = received.path.split("?")[0];
    if (path === "/v1/sessions/session") send(response, 200, this.#create());
    else if (path === "/v1/sessions/sandboxes") send(response, 200, [...this.#live].map(sandbox));
    else if (!this.#live.has(String(fields["session_id"]))) send(response, 404, noSession);
    else if (path === "/kill") send(response, 200, this.#kill(String(fields["session_id"])));
    else this.#execute(fields, response);
  }

  #create(): unknown {
    this.#created += 1;
    const id = `00000000-0000-4000-8000-${String(this.#created).padStart(12, "0")}`;
    this.#live.add(id);
    return { ...session(id), start: "pool", ready_ms: 2 };
  }

  #kill(id: string): unknown {
    this.#live.delete(id);
    return { message: "killed", session_id: id, vm_id: vmId, status: "killed" };
  }

  #execute(fields: Record<string, unknown>, response: ServerResponse): void {
    this.executed.push(fields);
    if (this.silent) return;
    send(response, 200, { ...success, session_id: fields["session_id"], ...this.answer });
  }
}

const vmId = "a1234567890123456789";
const noSession = {
  detail: "There is no such session.",
  code: "session_not_found",
  next: "Create one.",
  request_id: "r1",
};
const success = {
  vm_id: vmId,
  language: "python",
  success: true,
  exit_code: 0,
  timed_out: false,
  truncated: false,
  context_lost: false,
  out_of_memory: false,
  execution_time: 0.001,
  cpu_time: 0.001,
  vm_start: null,
  vm_ready_ms: null,
  stdout: "42\n",
  stderr: "",
  output: "42\n",
  results: [],
  error: null,
};

function session(id: string): Record<string, unknown> {
  return {
    id,
    session_id: id,
    vm_id: vmId,
    status: "active",
    created_at: "2026-01-02T03:04:05Z",
    expires_at: "2026-01-02T03:09:05Z",
  };
}

function sandbox(id: string): Record<string, unknown> {
  return {
    sandbox_id: vmId,
    vm_id: vmId,
    session_id: id,
    name: null,
    metadata: {},
    status: "active",
    started_at: "2026-01-02T03:04:05Z",
    end_at: "2026-01-02T03:09:05Z",
  };
}

async function receive(request: IncomingMessage): Promise<Received> {
  const { method = "", url: path = "", headers } = request;
  return { method, path, contentType: headers["content-type"] ?? "", body: new Uint8Array(await buffer(request)) };
}

/** The fields of a JSON object; none for any other body. */
export function jsonOf({ contentType, body }: Received): Record<string, unknown> {
  if (!contentType.startsWith("application/json")) return {};
  const value: unknown = JSON.parse(new TextDecoder().decode(body));
  return typeof value === "object" && value !== null ? { ...value } : {};
}

/** Answers with JSON. */
export function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}
