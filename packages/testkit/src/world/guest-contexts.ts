import { InstaVmError } from "@instavm/contract";
import type { CodeEnded, CreateContextRequest, GuestContext, Language, RunCodeRequest } from "@instavm/core";
import type { FakeCall } from "./fake-call.ts";

const mostContexts = 32;

/** One interpreter of a pretend VM. */
export interface FakeContext {
  readonly contextId: string;
  readonly language: Language;
  readonly cwd: string;
  readonly env: ReadonlyMap<string, string>;
  readonly variables: Map<string, string>;
  /** The cell that runs. */
  running: FakeCall<CodeEnded> | undefined;
  /** Settles when the cells that were asked for until now are over. */
  lastCell: Promise<void>;
}

/** The contexts of a pretend VM. */
export class GuestContexts {
  readonly #contexts = new Map<string, FakeContext>();
  readonly #defaultVariables: Map<string, string>;
  #created = 0;

  /** The variables of the default context live in what templates copy. */
  constructor(defaultVariables: Map<string, string>) {
    this.#defaultVariables = defaultVariables;
  }

  create({ language, cwd = "/root", env = {} }: CreateContextRequest): GuestContext {
    if (cwd.startsWith("/missing")) throw new InstaVmError("invalid", `working directory ${cwd} is not there`);
    if (this.#contexts.size >= mostContexts) {
      throw new InstaVmError("limit_exceeded", `${mostContexts} contexts exist, expected fewer`);
    }
    this.#created += 1;
    const contextId = `${language}-${this.#created}`;
    const context = { ...newContext(contextId, language), cwd, env: new Map(Object.entries(env)) };
    this.#contexts.set(contextId, context);
    return describe(context);
  }

  list(): readonly GuestContext[] {
    return [...this.#contexts.values()].map(describe);
  }

  /** Undefined for a Bash cell without a context: it gets a fresh shell. */
  forCell({ contextId, code, language }: RunCodeRequest): FakeContext | undefined {
    if (contextId !== undefined) return this.find(contextId);
    const asked = language === "detect" ? detect(code) : language;
    if (asked === "bash") return undefined;
    const context = this.#contexts.get(asked) ?? {
      ...newContext(asked, asked),
      ...(asked === "python" ? { variables: this.#defaultVariables } : {}),
    };
    this.#contexts.set(asked, context);
    return context;
  }

  find(contextId: string): FakeContext {
    const found = this.#contexts.get(contextId);
    if (found === undefined) throw new InstaVmError("context_not_found", `context ${contextId} does not exist`);
    return found;
  }

  restart(contextId: string): GuestContext {
    const context = this.find(contextId);
    context.running?.end(ending({ language: context.language, exitCode: 137, contextLost: true }));
    context.variables.clear();
    return describe(context);
  }

  interrupt(contextId: string): GuestContext {
    const context = this.find(contextId);
    const error = { name: "KeyboardInterrupt", value: "", traceback: "KeyboardInterrupt\n" };
    context.running?.end({ ...ending({ language: context.language, exitCode: 1, contextLost: false }), error });
    return describe(context);
  }

  delete(contextId: string): void {
    const context = this.find(contextId);
    this.#contexts.delete(contextId);
    context.running?.fail(new InstaVmError("context_not_found", "the context was deleted"));
  }
}

function newContext(contextId: string, language: Language): FakeContext {
  return {
    contextId,
    language,
    cwd: "/root",
    env: new Map(),
    variables: new Map(),
    running: undefined,
    lastCell: Promise.resolve(),
  };
}

function describe({ contextId, language, cwd, running }: FakeContext): GuestContext {
  return { contextId, language, cwd, isBusy: running !== undefined };
}

function detect(code: string): "python" | "bash" {
  return /[(=]/.test(code) ? "python" : "bash";
}

/** How a cell ends that another call ended. */
function ending(how: Pick<CodeEnded, "language" | "exitCode" | "contextLost">): CodeEnded {
  return { ...how, timedOut: false, truncated: false, error: undefined, cpuMs: 1, wallMs: 1, outOfMemory: false };
}
