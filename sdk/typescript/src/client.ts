import { operations } from "@instavm/contract";
import type { OperationName } from "@instavm/contract";
import type { z } from "zod";
import { toHealth, toKilled, toSandboxSummary, toSession, toSessionDetails, toStatus, toUsage } from "./answers.ts";
import type {
  CreatedSession,
  ExecuteResult,
  Health,
  KilledSession,
  SandboxSummary,
  SessionDetails,
  SessionStatusReport,
  SessionUsage,
} from "./answers.ts";
import { ApiKeys } from "./api-keys.ts";
import { Commands } from "./commands.ts";
import { Contexts } from "./contexts.ts";
import type { ExecuteEvent } from "./execute-events.ts";
import type { ExecuteOptions } from "./execute-options.ts";
import { Executions } from "./executions.ts";
import { Files } from "./files.ts";
import { toCurrentUser } from "./key-answers.ts";
import type { CurrentUser } from "./key-answers.ts";
import type { ShapeOptions } from "./options.ts";
import { runCode, streamCode } from "./run-code.ts";
import { Transport } from "./transport.ts";
import type { CallOptions, OperationInput, TransportOptions } from "./transport.ts";
import type { Vm } from "./vm-answers.ts";
import { vmIdOf } from "./vm-of.ts";
import { Vms } from "./vms.ts";
import type { ForkVmOptions } from "./vms.ts";

/** How to reach the server, and as whom. */
export type InstaVmOptions = Partial<TransportOptions>;

/** A session lives 20..86400 seconds. */
export interface CreateSessionOptions extends ShapeOptions, CallOptions {}

export interface ListSessionsOptions extends CallOptions {
  /** Only sandboxes whose metadata holds all of this. */
  readonly metadata?: Readonly<Record<string, unknown>>;
  /** 1..1000, by default 100. */
  readonly limit?: number;
}

/** The operations of the API, by name. */
export type Operations = typeof operations;

/**
 * A client of one server. Every method throws an `InstaVmError`: the server's own (`code`, `message`, `next`, `requestId`),
 * or `unavailable` (not reached), `timeout` (no answer in time), `bad_gateway` (the answer is not InstaVM's).
 * An abort of `signal` rejects with the signal's reason. What is safe to repeat is tried again after a failure that may pass.
 */
export class InstaVm {
  readonly vms: Vms;
  readonly apiKeys: ApiKeys;
  readonly executions: Executions;
  readonly #transport: Transport;

  constructor(options: InstaVmOptions = {}) {
    this.#transport = new Transport(options);
    this.vms = new Vms(this.#transport);
    this.apiKeys = new ApiKeys(this.#transport);
    this.executions = new Executions(this.#transport);
  }

  /** Does any operation of the API, in the server's own names: what its document at /openapi.json says goes in and comes out. */
  async call<Name extends OperationName>(
    name: Name,
    input: OperationInput<Operations[Name]> = {},
    options: CallOptions = {},
  ): Promise<z.output<Operations[Name]["answer"]>> {
    return await this.#transport.call(operations[name], input, options);
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
    return toSession(
      await this.#transport.call(operations.createSession, { body }, { timeoutMs: 120_000, ...options }),
    );
  }

  /** Runs code; resolves with what it printed and how it ended, whatever its exit code. */
  async execute(sessionId: string, code: string, options: ExecuteOptions = {}): Promise<ExecuteResult> {
    return await runCode(this.#transport, { sessionId, code }, options);
  }

  /**
   * Runs code and yields what comes of it as it comes, the last one being `exit`. Reading slowly slows the code; leaving the
   * loop early, or an abort, ends it. Nothing is cut.
   */
  async *stream(
    sessionId: string,
    code: string,
    options: ExecuteOptions = {},
  ): AsyncGenerator<ExecuteEvent, void, undefined> {
    yield* streamCode(this.#transport, { sessionId, code }, options);
  }

  async getSession(sessionId: string, options: CallOptions = {}): Promise<SessionDetails> {
    return toSessionDetails(await this.#transport.call(operations.getSession, inSession(sessionId), options));
  }

  /** Does not throw for a session that does not exist. */
  async sessionStatus(sessionId: string, options: CallOptions = {}): Promise<SessionStatusReport> {
    return toStatus(await this.#transport.call(operations.getSessionStatus, inSession(sessionId), options));
  }

  /** What the session has used so far. */
  async sessionUsage(sessionId: string, options: CallOptions = {}): Promise<SessionUsage> {
    return toUsage(await this.#transport.call(operations.getSessionUsage, inSession(sessionId), options));
  }

  /** The live sandboxes of the key, newest first. */
  async listSessions(options: ListSessionsOptions = {}): Promise<readonly SandboxSummary[]> {
    const metadata = options.metadata === undefined ? undefined : JSON.stringify(options.metadata);
    const query = { limit: options.limit, metadata };
    return (await this.#transport.call(operations.listSandboxes, { query }, options)).map(toSandboxSummary);
  }

  /** Ends the session, its VM and its files. */
  async kill(sessionId: string, options: CallOptions = {}): Promise<KilledSession> {
    const body = { session_id: sessionId };
    return toKilled(await this.#transport.call(operations.kill, { body }, options));
  }

  /** Copies a session's VM, which must run; see `vms.fork`. */
  async fork(sessionId: string, options: ForkVmOptions = {}): Promise<readonly Vm[]> {
    return await this.vms.fork(await vmIdOf(this.#transport, { sessionId }, options), options);
  }

  /** The files of a session's VM. */
  files(sessionId: string): Files {
    return new Files(this.#transport, { sessionId });
  }

  /** The interpreters of a session's VM. */
  contexts(sessionId: string): Contexts {
    return new Contexts(this.#transport, sessionId);
  }

  /** The programs in a session's VM. */
  commands(sessionId: string): Commands {
    return new Commands(this.#transport, sessionId);
  }

  /** Whose key this is. */
  async currentUser(options: CallOptions = {}): Promise<CurrentUser> {
    return toCurrentUser(await this.#transport.call(operations.getCurrentUser, {}, options));
  }

  /** Needs no key. */
  async health(options: CallOptions = {}): Promise<Health> {
    return toHealth(await this.#transport.call(operations.health, {}, options));
  }
}

function inSession(sessionId: string): { readonly params: { readonly session_id: string } } {
  return { params: { session_id: sessionId } };
}
