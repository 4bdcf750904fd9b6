import { operations } from "@instavm/contract";
import type { Context as ContextBody, CreateContextRequest } from "@instavm/contract";
import type { ExecuteResult } from "./answers.ts";
import type { ExecuteEvent } from "./execute-events.ts";
import type { ExecuteOptions } from "./execute-options.ts";
import { runCode, streamCode } from "./run-code.ts";
import type { CallOptions, Transport } from "./transport.ts";
import { vmIdOf } from "./vm-of.ts";

/** One interpreter in a VM, with variables and a working directory of its own. */
export interface Context {
  readonly contextId: string;
  readonly vmId: string;
  readonly language: CreateContextRequest["language"];
  /** Where its interpreter starts. */
  readonly cwd: string;
  /** Code runs in it. */
  readonly isBusy: boolean;
}

export interface CreateContextOptions extends CallOptions {
  /** By default Python. */
  readonly language?: CreateContextRequest["language"];
  /** Absolute; by default the workdir. */
  readonly cwd?: string;
  /** On top of the session's. */
  readonly env?: Readonly<Record<string, string>>;
}

/** What code in a context takes: its language is the context's. */
export type ContextExecuteOptions = Omit<ExecuteOptions, "language" | "contextId">;

/**
 * The interpreters of a session's VM, which end with it. The ones that code without a context runs in are `python` and
 * `javascript`. One that does not exist throws `context_not_found`.
 */
export class Contexts {
  readonly #transport: Transport;
  readonly #sessionId: string;

  constructor(transport: Transport, sessionId: string) {
    this.#transport = transport;
    this.#sessionId = sessionId;
  }

  async create(options: CreateContextOptions = {}): Promise<Context> {
    const { language = "python", cwd, env } = options;
    const input = { params: { vm_id: await this.#vmId(options) }, body: { language, cwd, env } };
    return toContext(await this.#transport.call(operations.createContext, input, options));
  }

  async list(options: CallOptions = {}): Promise<readonly Context[]> {
    const input = { params: { vm_id: await this.#vmId(options) } };
    return (await this.#transport.call(operations.listContexts, input, options)).map(toContext);
  }

  async get(contextId: string, options: CallOptions = {}): Promise<Context> {
    return toContext(await this.#transport.call(operations.getContext, await this.#one(contextId, options), options));
  }

  /** Runs code in a context; resolves with what it printed and how it ended, whatever its exit code. */
  async run(contextId: string, code: string, options: ContextExecuteOptions = {}): Promise<ExecuteResult> {
    return await runCode(this.#transport, { sessionId: this.#sessionId, code }, { ...options, contextId });
  }

  /** Runs code in a context and yields what comes of it as it comes, the last one being `exit`; see `InstaVm.stream`. */
  stream(
    contextId: string,
    code: string,
    options: ContextExecuteOptions = {},
  ): AsyncGenerator<ExecuteEvent, void, undefined> {
    return streamCode(this.#transport, { sessionId: this.#sessionId, code }, { ...options, contextId });
  }

  /** Ends the interpreter with its variables and the code that runs in it; the next code gets a new one. */
  async restart(contextId: string, options: CallOptions = {}): Promise<Context> {
    const input = await this.#one(contextId, options);
    return toContext(await this.#transport.call(operations.restartContext, input, options));
  }

  /** Interrupts the code that runs in a context; its variables stay. */
  async interrupt(contextId: string, options: CallOptions = {}): Promise<Context> {
    const input = await this.#one(contextId, options);
    return toContext(await this.#transport.call(operations.interruptContext, input, options));
  }

  /** Ends a context with the code that runs in it. */
  async delete(contextId: string, options: CallOptions = {}): Promise<void> {
    await this.#transport.call(operations.deleteContext, await this.#one(contextId, options), options);
  }

  async #one(contextId: string, options: CallOptions) {
    return { params: { vm_id: await this.#vmId(options), context_id: contextId } };
  }

  async #vmId(options: CallOptions): Promise<string> {
    return await vmIdOf(this.#transport, { sessionId: this.#sessionId }, options);
  }
}

function toContext(body: ContextBody): Context {
  return {
    contextId: body.context_id,
    vmId: body.vm_id,
    language: body.language,
    cwd: body.cwd,
    isBusy: body.is_busy,
  };
}
