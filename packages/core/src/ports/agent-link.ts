import type { ExecEnded, ExecRequest } from "./agent-exec.ts";
import type { AgentContexts, Language } from "./agent-contexts.ts";
import type { AgentFiles } from "./agent-files.ts";
import type { AgentProcesses } from "./agent-processes.ts";
import type { Waiting } from "./waiting.ts";

export interface ActivateRequest {
  /** 32 to 256 bytes of host entropy; undefined keeps the VM's identity (a pooled VM that is handed over). */
  readonly identity?: { readonly entropy: Uint8Array; readonly hostname: string; readonly machineId: string };
  /** The host's wall clock, in ms since 1970 UTC. */
  readonly unixTimeMs: number;
  readonly env: Readonly<Record<string, string>>;
}

export interface RunCodeRequest {
  readonly code: string;
  /** `detect`: Python or else Bash; with a `contextId`, the context's own. */
  readonly language: Language | "detect";
  /** Undefined: the language's default context; of Bash, a fresh shell. */
  readonly contextId?: string;
  readonly limitMs?: number;
  readonly outputLimitBytes?: number;
  /** For this cell only. */
  readonly env?: Readonly<Record<string, string>>;
}

export type OutputEvent =
  | { readonly type: "started"; readonly pid: number }
  | { readonly type: "stdout"; readonly data: Uint8Array }
  | { readonly type: "stderr"; readonly data: Uint8Array }
  | { readonly type: "display"; readonly isResult: boolean; readonly data: ReadonlyMap<string, Uint8Array> };

export interface CodeEnded {
  readonly exitCode: number;
  readonly timedOut: boolean;
  readonly truncated: boolean;
  readonly language: Language;
  readonly error: { readonly name: string; readonly value: string; readonly traceback: string } | undefined;
  readonly cpuMs: number;
  readonly wallMs: number;
  readonly contextLost: boolean;
  readonly outOfMemory: boolean;
}

/**
 * A call whose output arrives while it runs. Iterate to the end, then await `ended`; what is not read is not
 * granted credit, so a slow reader slows the guest and memory stays bounded. Aborting or leaving the loop early cancels the call.
 */
export interface OutputCall<Ended> extends AsyncIterable<OutputEvent> {
  /** Rejects with an InstaVmError when the call failed or the link broke. */
  readonly ended: Promise<Ended>;
}

export interface ExecCall extends OutputCall<ExecEnded> {
  /** Resolves when the guest took it. */
  write(data: Uint8Array): Promise<void>;
  closeStdin(): void;
  signal(signal: number): void;
}

export interface GuestStats {
  readonly memoryTotalBytes: number;
  readonly memoryAvailableBytes: number;
  readonly diskTotalBytes: number;
  readonly diskAvailableBytes: number;
  readonly cpuUserMs: number;
  readonly cpuSystemMs: number;
  readonly processCount: number;
  readonly uptimeMs: number;
}

/** One session with one agent. */
export interface AgentSession {
  /** Settles, never rejects: undefined after a `detach` that the agent answered, else why the session broke. */
  readonly closed: Promise<Error | undefined>;
  ping(waiting?: Waiting): Promise<{ readonly agentVersion: string }>;
  activate(request: ActivateRequest, waiting?: Waiting): Promise<void>;
  stats(waiting?: Waiting): Promise<GuestStats>;
  exec(request: ExecRequest, waiting?: Waiting): ExecCall;
  runCode(request: RunCodeRequest, waiting?: Waiting): OutputCall<CodeEnded>;
  /** Ends the interpreter of a context; the next cell gets a new one. Undefined = the language's default context. */
  restartContext(contextId: string, waiting?: Waiting): Promise<void>;
  interruptContext(contextId: string, waiting?: Waiting): Promise<void>;
  readFile(
    path: string,
    options?: Waiting & { readonly offset?: number; readonly length?: number },
  ): AsyncIterable<Uint8Array>;
  writeFile(
    path: string,
    content: AsyncIterable<Uint8Array> | Uint8Array,
    options?: Waiting & { readonly mode?: number; readonly makeParents?: boolean; readonly limitBytes?: number },
  ): Promise<{ readonly path: string; readonly bytes: number }>;
  /** Everything about contexts beside the two above. */
  readonly contexts: AgentContexts;
  /** Everything about files beside the two above. */
  readonly files: AgentFiles;
  /** Processes that outlive calls and sessions. */
  readonly processes: AgentProcesses;
  /** Leaves in order: running calls are cancelled, the agent is ready for the next session. Never rejects. */
  detach(waiting?: Waiting): Promise<void>;
}

/** Options of one `connect`. */
export interface ConnectOptions extends Waiting {
  /** Makes the VM an individual before the session is given out. */
  readonly activate?: ActivateRequest;
}

/** Reaches the agents. */
export interface AgentLink {
  /**
   * Resolves when the agent answered the hello, and `activate` where given; retries until the deadline. `activate` goes
   * right behind the hello, which saves a round trip, and again with each retry. Throws `guest_unreachable`, or what `activate` failed with.
   */
  connect(socketPath: string, options?: ConnectOptions): Promise<AgentSession>;
}
