import {
  createSessionResponseSchema,
  executeResponseSchema,
  executeTimeoutS,
  healthResponseSchema,
  killResponseSchema,
  sandboxSchema,
  sessionResponseSchema,
  sessionStatusResponseSchema,
} from "@instavm/contract";
import { z } from "zod";
import { toExecuteResult, toHealth, toKilled, toSandbox, toSession, toSessionDetails, toStatus } from "./answers.ts";
import type {
  CreatedSession,
  ExecuteResult,
  Health,
  KilledSession,
  Sandbox,
  SessionDetails,
  SessionStatusReport,
} from "./answers.ts";
import { Transport } from "./transport.ts";
import type { CallOptions, TransportOptions } from "./transport.ts";

/** How to reach the server. */
export interface InstaVmOptions extends Partial<TransportOptions> {
  /** Made by the server at its first start, or by an admin. */
  readonly apiKey: string;
}

export interface CreateSessionOptions extends CallOptions {
  readonly vcpuCount?: 1 | 2 | 4 | 6 | 8;
  /** 128..8192. */
  readonly memoryMib?: number;
  /** Seconds until the session ends by itself, 20..86400. */
  readonly lifetimeS?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly metadata?: Readonly<Record<string, unknown>>;
}

export interface ExecuteOptions extends CallOptions {
  /** Without it: Python if the code compiles, else Bash. */
  readonly language?: "python" | "bash";
  /** Seconds the code may take, 1..600, by default 60. At the limit the answer has `timedOut` and exit code 124. */
  readonly timeoutS?: number;
}

export interface ListSessionsOptions extends CallOptions {
  /** Only sandboxes whose metadata holds all of this. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** 1..1000, by default 100. */
  readonly limit?: number;
}

/**
 * A client of one server. Every method throws an `InstaVmError`: the server's own (`code`, `message`, `next`, `requestId`),
 * or `unavailable` (not reached), `timeout` (no answer in time), `bad_gateway` (the answer is not InstaVM's).
 * An abort of `signal` rejects with the signal's reason.
 */
export class InstaVm {
  readonly #transport: Transport;

  constructor(options: InstaVmOptions) {
    this.#transport = new Transport(options);
  }

  /** Starts a VM; resolves when it is ready. */
  async createSession(options: CreateSessionOptions = {}): Promise<CreatedSession> {
    const body = {
      vcpu_count: options.vcpuCount,
      memory_mb: options.memoryMib,
      vm_lifetime_seconds: options.lifetimeS,
      env: options.env,
      metadata: options.metadata,
    };
    const call = { method: "POST", path: "/v1/sessions/session", body, answer: createSessionResponseSchema } as const;
    return toSession(await this.#transport.call(call, { timeoutMs: 120_000, ...options }));
  }

  /** Runs code; resolves with what it printed and how it ended, whatever its exit code. */
  async execute(sessionId: string, code: string, options: ExecuteOptions = {}): Promise<ExecuteResult> {
    const timeoutS = options.timeoutS ?? executeTimeoutS.default;
    const body = { session_id: sessionId, command: code, language: options.language, timeout: timeoutS };
    const call = { method: "POST", path: "/execute", body, answer: executeResponseSchema } as const;
    return toExecuteResult(await this.#transport.call(call, { timeoutMs: timeoutS * 1000 + 5000, ...options }));
  }

  async getSession(sessionId: string, options: CallOptions = {}): Promise<SessionDetails> {
    const path = `/v1/sessions/session/${encodeURIComponent(sessionId)}`;
    return toSessionDetails(
      await this.#transport.call({ method: "GET", path, answer: sessionResponseSchema }, options),
    );
  }

  /** Does not throw for a session that does not exist. */
  async sessionStatus(sessionId: string, options: CallOptions = {}): Promise<SessionStatusReport> {
    const path = `/v1/sessions/status/${encodeURIComponent(sessionId)}`;
    return toStatus(await this.#transport.call({ method: "GET", path, answer: sessionStatusResponseSchema }, options));
  }

  /** The live sandboxes of the key, newest first. */
  async listSessions(options: ListSessionsOptions = {}): Promise<readonly Sandbox[]> {
    const query = new URLSearchParams();
    if (options.limit !== undefined) query.set("limit", String(options.limit));
    if (options.metadata !== undefined) query.set("metadata", JSON.stringify(options.metadata));
    const path = `/v1/sessions/sandboxes?${query.toString()}`;
    const sandboxes = await this.#transport.call({ method: "GET", path, answer: z.array(sandboxSchema) }, options);
    return sandboxes.map(toSandbox);
  }

  /** Ends the session, its VM and its files. */
  async kill(sessionId: string, options: CallOptions = {}): Promise<KilledSession> {
    const call = {
      method: "POST",
      path: "/kill",
      body: { session_id: sessionId },
      answer: killResponseSchema,
    } as const;
    return toKilled(await this.#transport.call(call, options));
  }

  /** Needs no key. */
  async health(options: CallOptions = {}): Promise<Health> {
    return toHealth(
      await this.#transport.call({ method: "GET", path: "/health", answer: healthResponseSchema }, options),
    );
  }
}
