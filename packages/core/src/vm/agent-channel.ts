import { InstaVmError } from "@instavm/contract";
import type { AgentSession } from "../ports/agent-link.ts";
import type { Clock } from "../ports/surroundings.ts";
import { sleep, untilAborted } from "../waiting/deadline.ts";

/** A link that breaks again this soon after it was mended is not mended again. */
const flappingMs = 10_000;
/** How long a session may take to notice that it broke, once a call on it failed. */
const noticeMs = 1_000;

/** What a channel needs. */
export interface ChannelParts {
  readonly clock: Clock;
  /** One attempt at a new session, with its own deadline. */
  readonly reconnect: (signal: AbortSignal) => Promise<AgentSession>;
  /** Called once, when the agent is given up. */
  readonly onLost: (why: Error) => void;
}

type State =
  | { readonly kind: "open"; readonly session: AgentSession }
  | { readonly kind: "reconnecting"; readonly session: Promise<AgentSession> }
  | { readonly kind: "closed"; readonly why: InstaVmError };

/**
 * The lasting way to one agent: keeps a session open and mends it once when it breaks. An agent that breaks the
 * protocol, or whose link breaks again at once, is given up.
 */
export class AgentChannel {
  readonly #parts: ChannelParts;
  readonly #closing = new AbortController();
  #state: State;
  #mendedAtMs = Number.NEGATIVE_INFINITY;

  constructor(session: AgentSession, parts: ChannelParts) {
    this.#parts = parts;
    this.#state = { kind: "open", session };
    void this.#watch(session);
  }

  /** The open session; waits while it is being mended. Rejects when the channel is closed. */
  async session(signal?: AbortSignal): Promise<AgentSession> {
    const state = this.#state;
    if (state.kind === "open") return state.session;
    if (state.kind === "reconnecting") return untilAborted(state.session, signal);
    throw state.why;
  }

  /** Whether this is the session that is open now. */
  holds(session: AgentSession): boolean {
    return this.#state.kind === "open" && this.#state.session === session;
  }

  /** After a call on `session` failed: resolves when it is known whether the agent is reachable. Never rejects. */
  async settled(session: AgentSession): Promise<void> {
    await Promise.race([session.closed, sleep(this.#parts.clock, noticeMs)]);
    if (this.#state.kind === "reconnecting") await this.#state.session.catch(() => {});
  }

  /** Closes it for ever: whoever waits for a session gets `why`. Says nothing to the agent. */
  close(why: InstaVmError): void {
    if (this.#state.kind === "closed") return;
    this.#state = { kind: "closed", why };
    this.#closing.abort(why);
  }

  /** Leaves the agent in order, so that another host process can connect. Never rejects. */
  async detach(why: InstaVmError): Promise<void> {
    const state = this.#state;
    this.close(why);
    if (state.kind === "open") await state.session.detach();
    if (state.kind === "reconnecting") await state.session.catch(() => {});
  }

  async #watch(session: AgentSession): Promise<void> {
    const why = await session.closed;
    if (this.#state.kind === "closed") return;
    const cause = why ?? new InstaVmError("guest_unreachable", "the agent's session was left");
    const isGarbage = cause instanceof InstaVmError && cause.code === "guest_protocol";
    const isFlapping = this.#parts.clock.monotonicMs() - this.#mendedAtMs < flappingMs;
    if (isGarbage || isFlapping) this.#lose(cause);
    else this.#mend();
  }

  #mend(): void {
    const session = this.#reconnect();
    // Whoever waits sees the failure; nobody may be waiting.
    session.catch(() => {});
    this.#state = { kind: "reconnecting", session };
  }

  async #reconnect(): Promise<AgentSession> {
    try {
      const session = await this.#parts.reconnect(this.#closing.signal);
      if (this.#state.kind === "closed") {
        await session.detach();
        throw this.#state.why;
      }
      this.#state = { kind: "open", session };
      this.#mendedAtMs = this.#parts.clock.monotonicMs();
      void this.#watch(session);
      return session;
    } catch (error) {
      this.#lose(error instanceof Error ? error : new InstaVmError("internal", String(error)));
      throw error;
    }
  }

  #lose(cause: Error): void {
    if (this.#state.kind === "closed") return;
    this.close(cause instanceof InstaVmError ? cause : new InstaVmError("guest_unreachable", cause.message, { cause }));
    this.#parts.onLost(cause);
  }
}
