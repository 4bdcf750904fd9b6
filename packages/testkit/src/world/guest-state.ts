/** How a guest misbehaves. */
export interface GuestFaults {
  /** Never comes up, and burns its CPU. */
  hangsAtBoot: boolean;
  /** Answers nothing, whatever it is asked. */
  isDeaf: boolean;
  /** Breaks the protocol as soon as a host says hello. */
  talksGarbage: boolean;
  /** Programs of this name exit with 1. */
  readonly failingPrograms: Set<string>;
}

/** What a saved state holds of a guest. */
export interface GuestState {
  readonly variables: Map<string, string>;
  readonly env: Map<string, string>;
  readonly files: Map<string, Uint8Array>;
  hostname: string;
  /** Hex of the entropy that it was last given; twins have the same. */
  entropy: string;
  machineId: string;
  /** Its own wall clock, as last told. */
  unixTimeMs: number;
  /** Cells and programs it has run. */
  runs: number;
}

/** A guest that has done nothing yet. */
export function freshState(): GuestState {
  return {
    variables: new Map(),
    env: new Map(),
    files: new Map(),
    hostname: "localhost",
    entropy: "",
    machineId: "",
    unixTimeMs: 0,
    runs: 0,
  };
}

/** What a copy-on-write copy starts with. */
export function copyOf({ variables, env, files, ...rest }: GuestState): GuestState {
  return { ...rest, variables: new Map(variables), env: new Map(env), files: new Map(files) };
}
