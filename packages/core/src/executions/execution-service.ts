import { type ExecutionId, executionIdSchema, executionLimits, InstaVmError, type KeyId } from "@instavm/contract";
import type { CodeEnded } from "../ports/agent-link.ts";
import type {
  ExecutionFilter,
  ExecutionOutput,
  ExecutionRecord,
  ExecutionRecords,
} from "../ports/execution-records.ts";
import type { Chance, Clock, Log } from "../ports/surroundings.ts";
import type { Waiting } from "../ports/waiting.ts";
import type { CellEnd, Cells } from "../sessions/cells.ts";
import { CollectedOutput } from "../sessions/collected-output.ts";
import { withLossNotice } from "../sessions/loss-notice.ts";
import type { Caller, ExecuteRequest } from "../sessions/sessions.ts";
import type { WorkGauge } from "../waiting/work-gauge.ts";
import type { Executions, ExecutionView, StreamReader } from "./executions.ts";
import { howItEnded, lostWithServer } from "./how-it-ended.ts";

/** What executions work with. */
export interface ExecutionServiceParts {
  readonly cells: Cells;
  readonly records: { readonly executions: ExecutionRecords };
  readonly gauge: WorkGauge;
  readonly clock: Clock;
  readonly chance: Chance;
  readonly log: Log;
  /** Fires when the server stops. */
  readonly closing: AbortSignal;
}

interface Running {
  record: ExecutionRecord;
  readonly output: CollectedOutput;
  /** Monotonic: the wall clock may be set meanwhile. */
  readonly startedMs: number;
}

const dayMs = 86_400_000;

/** Streamed code, and code in the background with its records. */
export class ExecutionService implements Executions {
  readonly #parts: ExecutionServiceParts;
  readonly #running = new Map<ExecutionId, Running>();

  constructor(parts: ExecutionServiceParts) {
    this.#parts = parts;
  }

  async stream(
    caller: Caller,
    request: ExecuteRequest,
    { reader, ...waiting }: Waiting & { readonly reader: StreamReader },
  ): Promise<CodeEnded> {
    const { sessionId } = request;
    const run = {
      request,
      outputLimitBytes: undefined,
      take: reader.take,
      onLive: ({ sandbox, started }: CellEnd["live"]) =>
        reader.started({ sessionId, vmId: sandbox.vmId, start: started?.start, readyMs: started?.readyMs }),
    };
    const { ended } = await this.#parts.cells.run(caller, run, waiting);
    const notice = withLossNotice(new Uint8Array(), ended);
    if (notice.length > 0) await reader.take({ type: "stderr", data: notice });
    return ended;
  }

  async start(caller: Caller, request: ExecuteRequest): Promise<ExecutionView> {
    const { cells, records, clock, chance, closing } = this.#parts;
    closing.throwIfAborted();
    await cells.usable(caller, request.sessionId);
    this.#refuseTooMany(caller.keyId);
    const record = newRecord(caller.keyId, request, {
      executionId: executionIdSchema.parse(chance.uuid()),
      createdAtMs: clock.nowMs(),
    });
    const running: Running = {
      record,
      output: new CollectedOutput(executionLimits.keptOutputBytes),
      startedMs: clock.monotonicMs(),
    };
    this.#running.set(record.executionId, running);
    try {
      await records.executions.insert(record);
    } catch (error) {
      this.#running.delete(record.executionId);
      throw error;
    }
    void this.#run(caller, request, running);
    return viewOf(running);
  }

  async get(caller: Caller, executionId: ExecutionId): Promise<ExecutionView> {
    const running = this.#running.get(executionId);
    const view =
      running?.record.keyId === caller.keyId
        ? viewOf(running)
        : await this.#parts.records.executions.findOwn(executionId, caller.keyId);
    if (view === undefined) throw new InstaVmError("execution_not_found", `Execution ${executionId} does not exist`);
    return { ...view, ...this.#honest(view) };
  }

  async list(caller: Caller, filter: ExecutionFilter): Promise<readonly ExecutionRecord[]> {
    const records = await this.#parts.records.executions.listByKey(caller.keyId, filter);
    return records.map((record) => this.#honest(record));
  }

  /** Says of what an earlier server left running that it is lost. */
  async recover(): Promise<void> {
    const { records, clock, log } = this.#parts;
    const lost = await records.executions.loseRunning(clock.nowMs(), lostWithServer);
    if (lost > 0) log.info("executions.lost", { count: lost });
  }

  /** What runs nowhere and has no recorded end is lost. */
  #honest(record: ExecutionRecord): ExecutionRecord {
    const running = this.#running.get(record.executionId);
    if (running !== undefined || record.status !== "running") return running?.record ?? record;
    return { ...record, status: "lost", reason: "its end could not be written down" };
  }

  #refuseTooMany(keyId: KeyId): void {
    const { runningPerKey } = executionLimits;
    const count = [...this.#running.values()].filter(({ record }) => record.keyId === keyId).length;
    if (count < runningPerKey) return;
    throw new InstaVmError("limit_exceeded", `${count} executions of this key run already; ${runningPerKey} may.`, {
      next: "Wait until some have ended: GET /v1/executions lists them.",
    });
  }

  async #run(caller: Caller, request: ExecuteRequest, running: Running): Promise<void> {
    using _work = this.#parts.gauge.enter();
    const { output } = running;
    const run = {
      request,
      outputLimitBytes: executionLimits.keptOutputBytes,
      take: (event: Parameters<CollectedOutput["take"]>[0]) => output.take(event),
      onLive: ({ sandbox }: CellEnd["live"]) => {
        running.record = { ...running.record, vmId: sandbox.vmId };
      },
    };
    try {
      const { ended } = await this.#parts.cells.run(caller, run, { timeoutMs: request.limitMs });
      const stderr = withLossNotice(output.stderr(), ended);
      await this.#finish(running, completed(ended, output.isCut), { stdout: output.stdout(), stderr });
    } catch (error) {
      const end = howItEnded(error, this.#parts.closing.aborted);
      const wallMs = this.#parts.clock.monotonicMs() - running.startedMs;
      await this.#finish(running, { ...end, wallMs, truncated: output.isCut }, printed(output));
    }
  }

  /** Never rejects: what cannot be written is `lost` from then on. */
  async #finish(running: Running, end: Partial<ExecutionRecord>, output: ExecutionOutput): Promise<void> {
    const { records, clock, log } = this.#parts;
    const record = { ...running.record, ...end, endedAtMs: clock.nowMs() };
    const { executionId, keyId } = record;
    try {
      await records.executions.finish(record, output);
      const beforeMs = record.endedAtMs - executionLimits.keptDays * dayMs;
      await records.executions.prune(keyId, { keep: executionLimits.keptPerKey, beforeMs });
    } catch (error) {
      log.error("execution.record_failed", { executionId, error });
    }
    this.#running.delete(executionId);
  }
}

function newRecord(
  keyId: KeyId,
  { sessionId, language }: ExecuteRequest,
  born: Pick<ExecutionRecord, "executionId" | "createdAtMs">,
): ExecutionRecord {
  return {
    ...born,
    keyId,
    sessionId,
    vmId: undefined,
    language,
    status: "running",
    endedAtMs: undefined,
    exitCode: undefined,
    timedOut: false,
    truncated: false,
    cpuMs: 0,
    wallMs: 0,
    reason: undefined,
  };
}

function completed(ended: CodeEnded, isCut: boolean): Partial<ExecutionRecord> {
  const { language, exitCode, timedOut, cpuMs, wallMs } = ended;
  return { status: "completed", language, exitCode, timedOut, cpuMs, wallMs, truncated: ended.truncated || isCut };
}

function printed(output: CollectedOutput): ExecutionOutput {
  return { stdout: output.stdout(), stderr: output.stderr() };
}

function viewOf({ record, output }: Running): ExecutionView {
  return { ...record, ...printed(output), truncated: record.truncated || output.isCut };
}
