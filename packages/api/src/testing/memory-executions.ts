import { randomUUID } from "node:crypto";
import { executionIdSchema, InstaVmError, vmIdSchema } from "@instavm/contract";
import type { ExecutionId } from "@instavm/contract";
import type {
  Caller,
  CodeEnded,
  ExecuteRequest,
  ExecutionFilter,
  ExecutionRecord,
  Executions,
  ExecutionView,
  StreamReader,
  Waiting,
} from "@instavm/core";

/** What one streamed execute does in a test. */
export type StreamBehaviour = (
  take: StreamReader["take"],
  signal: AbortSignal | undefined,
) => Promise<Partial<CodeEnded>>;

const vmId = vmIdSchema.parse("abcdefghij0123456789");

/** Executions without VMs: `behaviour` stands for streamed code; `views` for code in the background. */
export class MemoryExecutions implements Executions {
  readonly views = new Map<ExecutionId, ExecutionView>();
  behaviour: StreamBehaviour = async () => ({});
  /** Why a stream cannot begin. */
  refusal: InstaVmError | undefined;

  async stream(
    _caller: Caller,
    request: ExecuteRequest,
    { reader, signal }: Waiting & { readonly reader: StreamReader },
  ): Promise<CodeEnded> {
    if (this.refusal !== undefined) throw this.refusal;
    await reader.started({ sessionId: request.sessionId, vmId, start: undefined, readyMs: undefined });
    return { ...endedWell, ...(await this.behaviour(reader.take, signal)) };
  }

  async start(caller: Caller, request: ExecuteRequest): Promise<ExecutionView> {
    const view: ExecutionView = {
      executionId: executionIdSchema.parse(randomUUID()),
      keyId: caller.keyId,
      sessionId: request.sessionId,
      vmId: undefined,
      language: request.language,
      status: "running",
      createdAtMs: Date.UTC(2026, 0, 2),
      endedAtMs: undefined,
      exitCode: undefined,
      timedOut: false,
      truncated: false,
      cpuMs: 0,
      wallMs: 0,
      reason: undefined,
      stdout: new Uint8Array(),
      stderr: new Uint8Array(),
    };
    this.views.set(view.executionId, view);
    return view;
  }

  async get(caller: Caller, executionId: ExecutionId): Promise<ExecutionView> {
    const view = this.views.get(executionId);
    if (view?.keyId === caller.keyId) return view;
    throw new InstaVmError("execution_not_found", `Execution ${executionId} does not exist`);
  }

  async list(caller: Caller, { limit, sessionId }: ExecutionFilter): Promise<readonly ExecutionRecord[]> {
    const own = [...this.views.values()].filter(({ keyId }) => keyId === caller.keyId);
    return own.filter((view) => sessionId === undefined || view.sessionId === sessionId).slice(0, limit);
  }
}

const endedWell: CodeEnded = {
  exitCode: 0,
  timedOut: false,
  truncated: false,
  language: "python",
  error: undefined,
  cpuMs: 3,
  wallMs: 1500,
  contextLost: false,
  outOfMemory: false,
};
