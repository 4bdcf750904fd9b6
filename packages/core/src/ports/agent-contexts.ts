import type { Waiting } from "./waiting.ts";

export type Language = "python" | "javascript" | "bash";

/** One interpreter in a VM, with its own state and working directory. */
export interface GuestContext {
  /** Of this VM. The default contexts, made by the first cell of their language, are `python` and `javascript`. */
  readonly contextId: string;
  readonly language: Language;
  /** Where its interpreter starts. */
  readonly cwd: string;
  /** A cell runs. */
  readonly isBusy: boolean;
}

/** A context to make. */
export interface CreateContextRequest {
  readonly language: Language;
  /** Absolute, a directory; undefined = the image's workdir. Another one is `invalid`. */
  readonly cwd?: string;
  /** Of its interpreter, on top of the VM's. */
  readonly env?: Readonly<Record<string, string>>;
}

/** The contexts of the VM behind one session. Every method but the first two throws `context_not_found` for an id that is none. */
export interface AgentContexts {
  /** Makes one; its interpreter starts at once. Throws `limit_exceeded` beyond 32 contexts. */
  create(request: CreateContextRequest, waiting?: Waiting): Promise<GuestContext>;
  list(waiting?: Waiting): Promise<readonly GuestContext[]>;
  /** Ends its interpreter and the cell that runs in it; the next cell gets a new one. */
  restart(contextId: string, waiting?: Waiting): Promise<GuestContext>;
  /** Interrupts the cell that runs; resolves when it was asked to end, not when it has. Nothing when none runs. */
  interrupt(contextId: string, waiting?: Waiting): Promise<GuestContext>;
  /** Ends it, its interpreter and the cell that runs in it. */
  delete(contextId: string, waiting?: Waiting): Promise<void>;
}
