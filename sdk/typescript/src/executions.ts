import { InstaVmError, executeTimeoutS, operations } from "@instavm/contract";
import type { ExecuteOptions } from "./execute-options.ts";
import { toExecution, toExecutionSummary } from "./execution-answers.ts";
import type { Execution, ExecutionSummary } from "./execution-answers.ts";
import type { CallOptions, Transport } from "./transport.ts";

export interface ListExecutionsOptions extends CallOptions {
  readonly sessionId?: string;
  /** 1..1000, by default 100. */
  readonly limit?: number;
}

export interface WaitForExecutionOptions extends CallOptions {
  /** How long to wait between two looks, in ms; by default 500. */
  readonly pollIntervalMs?: number;
}

/** Code that runs in the background, without a caller that waits for it. */
export class Executions {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Resolves when the code is recorded; `wait` has its end. */
  async start(sessionId: string, code: string, options: ExecuteOptions = {}): Promise<Execution> {
    const timeout = options.timeoutS ?? executeTimeoutS.default;
    const { language, contextId } = options;
    const body = { session_id: sessionId, command: code, language, context_id: contextId, timeout };
    return toExecution(await this.#transport.call(operations.executeAsync, { body }, options));
  }

  async get(executionId: string, options: CallOptions = {}): Promise<Execution> {
    return toExecution(
      await this.#transport.call(operations.getExecution, { params: { task_id: executionId } }, options),
    );
  }

  /** The executions of the key, newest first. */
  async list(options: ListExecutionsOptions = {}): Promise<readonly ExecutionSummary[]> {
    const query = { session_id: options.sessionId, limit: options.limit };
    return (await this.#transport.call(operations.listExecutions, { query }, options)).map(toExecutionSummary);
  }

  /** Looks again and again until the code has ended. `timeoutMs` is for the whole wait, by default 15 minutes. */
  async wait(executionId: string, options: WaitForExecutionOptions = {}): Promise<Execution> {
    const { signal, pollIntervalMs = 500, timeoutMs = 900_000 } = options;
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const execution = await this.get(executionId, signal === undefined ? {} : { signal });
      if (execution.isComplete) return execution;
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) {
        throw new InstaVmError("timeout", `Execution ${executionId} still runs after ${timeoutMs} ms; it runs on.`);
      }
      await pause(Math.min(pollIntervalMs, leftMs), signal);
    }
  }
}

/** Rejects with the signal's reason. */
async function pause(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, delayMs);
    signal?.addEventListener("abort", end);
  });
  signal?.throwIfAborted();
}
