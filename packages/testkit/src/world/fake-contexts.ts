import type { AgentContexts, CreateContextRequest, GuestContext, Waiting } from "@instavm/core";
import type { AskGuest } from "./fake-files.ts";
import type { Guest } from "./guest.ts";

/** The contexts of a fake guest, over one session. */
export class FakeContexts implements AgentContexts {
  readonly #guest: Guest;
  readonly #ask: AskGuest;

  constructor(guest: Guest, ask: AskGuest) {
    this.#guest = guest;
    this.#ask = ask;
  }

  create(request: CreateContextRequest, waiting?: Waiting): Promise<GuestContext> {
    return this.#ask("contexts.create", waiting, () => this.#guest.contexts.create(request));
  }

  list(waiting?: Waiting): Promise<readonly GuestContext[]> {
    return this.#ask("contexts.list", waiting, () => this.#guest.contexts.list());
  }

  restart(contextId: string, waiting?: Waiting): Promise<GuestContext> {
    return this.#ask("contexts.restart", waiting, () => this.#guest.contexts.restart(contextId));
  }

  interrupt(contextId: string, waiting?: Waiting): Promise<GuestContext> {
    return this.#ask("contexts.interrupt", waiting, () => this.#guest.contexts.interrupt(contextId));
  }

  delete(contextId: string, waiting?: Waiting): Promise<void> {
    return this.#ask("contexts.delete", waiting, () => this.#guest.contexts.delete(contextId));
  }
}
