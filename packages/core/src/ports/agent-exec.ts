/** A program to run in a VM. */
export interface ExecRequest {
  readonly command: { readonly argv: readonly string[] } | { readonly script: string };
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly user?: string;
  /** The guest's own limit; undefined = none. */
  readonly limitMs?: number;
  readonly outputLimitBytes?: number;
  readonly openStdin?: boolean;
}

/** How a program ended. */
export interface ExecEnded {
  readonly exitCode: number;
  readonly signal: number;
  readonly timedOut: boolean;
  readonly truncated: boolean;
  readonly cpuMs: number;
  readonly wallMs: number;
  readonly outOfMemory: boolean;
}
