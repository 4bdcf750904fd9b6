import type { CallOptions } from "./transport.ts";

export interface ExecuteOptions extends CallOptions {
  /** Without it: Python if the code compiles, else Bash. */
  readonly language?: "python" | "javascript" | "bash";
  /** The context to run in, whose language it is then; by default the language's own, and a fresh shell for Bash. */
  readonly contextId?: string;
  /** Seconds the code may take, 1..600, by default 60. At the limit the answer has `timedOut` and exit code 124. */
  readonly timeoutS?: number;
}
