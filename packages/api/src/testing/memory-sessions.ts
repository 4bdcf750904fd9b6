import { randomUUID } from "node:crypto";
import { InstaVmError, keyIdSchema, sessionIdSchema, vmIdSchema } from "@instavm/contract";
import type { SessionId } from "@instavm/contract";
import type {
  Caller,
  CreateRequest,
  ExecuteRequest,
  ExecuteResult,
  ListOptions,
  Sessions,
  SessionUsage,
  SessionView,
  Waiting,
} from "@instavm/core";

/** What one execute does in a test. */
export type Behaviour = (request: ExecuteRequest, signal: AbortSignal | undefined) => Promise<Partial<ExecuteResult>>;

const vmId = vmIdSchema.parse("abcdefghij0123456789");

/** Sessions without VMs: kept in memory; `behaviour` stands for the program. */
export class MemorySessions implements Sessions {
  readonly #views = new Map<SessionId, SessionView>();
  readonly executed: ExecuteRequest[] = [];
  behaviour: Behaviour = async (request) => ({ stdout: text(`ran ${request.code}\n`) });

  async create(caller: Caller, request: CreateRequest): Promise<SessionView> {
    const nowMs = Date.now();
    const sessionId = sessionIdSchema.parse(randomUUID());
    const { shape } = request;
    const times = { createdAtMs: nowMs, endedAtMs: undefined, endReason: undefined };
    const view: SessionView = {
      session: {
        ...request,
        ...times,
        name: request.name,
        sessionId,
        keyId: caller.keyId,
        vmId,
        expiresAtMs: nowMs + request.lifetimeS * 1000,
      },
      vm: { ...times, vmId, sessionId, shape, status: "active", start: "pool", forkedFrom: undefined },
      vmAlive: true,
      readyMs: 12.5,
    };
    this.#views.set(sessionId, view);
    return view;
  }

  async get(caller: Caller, sessionId: SessionId): Promise<SessionView> {
    const view = this.#views.get(sessionId);
    if (view === undefined || view.session.keyId !== caller.keyId) {
      throw new InstaVmError("session_not_found", `Session ${sessionId} does not exist.`);
    }
    return view;
  }

  async list(caller: Caller, { limit, liveOnly = false }: ListOptions): Promise<readonly SessionView[]> {
    const own = [...this.#views.values()].filter(
      ({ session }) => session.keyId === caller.keyId && !(liveOnly && session.endedAtMs !== undefined),
    );
    return own.toReversed().slice(0, limit);
  }

  async usage(caller: Caller, sessionId: SessionId): Promise<SessionUsage> {
    await this.get(caller, sessionId);
    return { cpuMs: 250, wallMs: 2000, memoryMibMs: 512 * 2000, executions: this.executed.length };
  }

  async kill(caller: Caller, sessionId: SessionId): Promise<SessionView> {
    const view = await this.get(caller, sessionId);
    const session = { ...view.session, endedAtMs: Date.now(), endReason: "killed" } as const;
    const killed = { ...view, session, vmAlive: false };
    this.#views.set(sessionId, killed);
    return killed;
  }

  async execute(caller: Caller, request: ExecuteRequest, waiting?: Waiting): Promise<ExecuteResult> {
    await this.get(caller, request.sessionId);
    this.executed.push(request);
    const result = await this.behaviour(request, waiting?.signal);
    return { ...emptyResult, language: request.language ?? "python", ...result };
  }
}

const emptyResult: ExecuteResult = {
  stdout: new Uint8Array(),
  stderr: new Uint8Array(),
  exitCode: 0,
  timedOut: false,
  truncated: false,
  language: "python",
  error: undefined,
  results: [],
  cpuMs: 3,
  wallMs: 1500,
  contextLost: false,
  outOfMemory: false,
  vmId,
  start: undefined,
  readyMs: undefined,
};

export const adminKeyId = keyIdSchema.parse(1);
export const userKeyId = keyIdSchema.parse(2);

/** UTF-8. */
export function text(content: string): Uint8Array {
  return new TextEncoder().encode(content);
}
