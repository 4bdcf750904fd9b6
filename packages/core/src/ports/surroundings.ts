/** Time and chance, so that tests can hold them still. */
export interface Clock {
  /** Wall clock, ms since 1970 UTC. */
  nowMs(): number;
  /** Monotonic, ms. */
  monotonicMs(): number;
  /** Calls back once after `delayMs`; never keeps the program alive. Returns a function that cancels it. */
  after(delayMs: number, callback: () => void): () => void;
}

export interface Chance {
  bytes(length: number): Uint8Array;
  uuid(): string;
}

/** Structured log: one event name and its fields. Never secrets, never a client's code or output. */
export interface Log {
  info(event: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(event: string, fields?: Readonly<Record<string, unknown>>): void;
  error(event: string, fields?: Readonly<Record<string, unknown>>): void;
}
