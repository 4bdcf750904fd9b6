import { InstaVmError } from "@instavm/contract";
import type { AgentContexts, CreateContextRequest, GuestContext, Waiting } from "@instavm/core";
import type { Context } from "@instavm/protocol/guest";
import { readLanguage } from "./answers.ts";
import type { Calls, ReadOutcome } from "./calls.ts";
import { guestProtocolError } from "./link-errors.ts";
import { createContextCall, type OpenCall } from "./requests.ts";

/** More than an agent ever has. */
const mostContexts = 256;
const idPattern = /^[a-z0-9-]{1,64}$/;
const longestCwd = 4096;

/** The contexts of the VM behind one session. */
export class LinkedContexts implements AgentContexts {
  readonly #calls: Calls;

  constructor(calls: Calls) {
    this.#calls = calls;
  }

  async create(request: CreateContextRequest, waiting: Waiting = {}): Promise<GuestContext> {
    return this.#ask("create context", createContextCall(request), waiting);
  }

  async list(waiting: Waiting = {}): Promise<readonly GuestContext[]> {
    const of = { subject: "list contexts", topic: "context", waiting } as const;
    return this.#calls.ask({ case: "listContexts", value: {} }, of, (outcome) => {
      if (outcome.case !== "contexts") return undefined;
      const { contexts } = outcome.value;
      if (contexts.length > mostContexts) throw guestProtocolError(`${contexts.length} contexts`);
      return contexts.map(readContext);
    });
  }

  async restart(contextId: string, waiting: Waiting = {}): Promise<GuestContext> {
    return this.#ask("restart context", { case: "restartContext", value: { contextId: named(contextId) } }, waiting);
  }

  async interrupt(contextId: string, waiting: Waiting = {}): Promise<GuestContext> {
    const call: OpenCall = { case: "interruptContext", value: { contextId: named(contextId) } };
    return this.#ask("interrupt context", call, waiting);
  }

  async delete(contextId: string, waiting: Waiting = {}): Promise<void> {
    await this.#ask("delete context", { case: "deleteContext", value: { contextId: named(contextId) } }, waiting);
  }

  async #ask(subject: string, call: OpenCall, waiting: Waiting): Promise<GuestContext> {
    return this.#calls.ask(call, { subject, topic: "context", waiting }, contextAnswer);
  }
}

const contextAnswer: ReadOutcome<GuestContext> = (outcome) =>
  outcome.case === "context" ? readContext(outcome.value) : undefined;

/** To the agent an empty id is the default context of Python. */
function named(contextId: string): string {
  if (idPattern.test(contextId)) return contextId;
  throw new InstaVmError("context_not_found", `context ${JSON.stringify(contextId.slice(0, 64))} does not exist`);
}

/** Throws `guest_protocol` on what no context can be. */
function readContext(context: Context): GuestContext {
  const { contextId, cwd, isBusy } = context;
  if (!idPattern.test(contextId)) throw guestProtocolError(`a context's id of ${contextId.length} characters`);
  if (cwd.length > longestCwd) throw guestProtocolError(`a context's directory of ${cwd.length} characters`);
  return { contextId, language: readLanguage(context.language), cwd, isBusy };
}
