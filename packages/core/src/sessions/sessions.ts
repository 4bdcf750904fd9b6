import type { KeyId, SessionId, Shape, VmId } from "@instavm/contract";
import type { Language } from "../ports/agent-contexts.ts";
import type { CodeEnded } from "../ports/agent-link.ts";
import type { EngineFacts } from "../ports/engine.ts";
import type { ListOptions, SessionRecord, StartKind, VmRecord } from "../ports/records.ts";
import type { Waiting } from "../ports/waiting.ts";

/** Who asks: the key that a request carried. */
export interface Caller {
  readonly keyId: KeyId;
  readonly role: "admin" | "user";
}

/** A session as its owner sees it. */
export interface SessionView {
  readonly session: SessionRecord;
  /** The VM that serves it now, or served it last. */
  readonly vm: VmRecord | undefined;
  /** The VM's process runs and its agent is reachable, as far as this server knows. */
  readonly vmAlive: boolean;
  /** From the request to the activated VM, in ms. Set by the call that started the VM. */
  readonly readyMs: number | undefined;
}

/** What a session is created with. */
export interface CreateRequest {
  /** What its owner calls its VM. */
  readonly name?: string | undefined;
  readonly shape: Shape;
  readonly lifetimeS: number;
  readonly env: Readonly<Record<string, string>>;
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** One cell of code. */
export interface ExecuteRequest {
  readonly sessionId: SessionId;
  readonly code: string;
  /** Undefined = that of the context, or the guest decides by looking at the code. */
  readonly language: Language | undefined;
  /** Where it runs; undefined = the language's default context; of Bash, a fresh shell. */
  readonly contextId?: string | undefined;
  /** How long the code may run, in ms; a VM that must be started first takes its time from it. */
  readonly limitMs: number;
}

/** How a cell ended. A program that fails is a result, not an error. */
export interface ExecuteResult {
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  /** 0..255; 124 at the time limit. */
  readonly exitCode: number;
  readonly timedOut: boolean;
  /** Output beyond the cap was dropped. */
  readonly truncated: boolean;
  /** What ran. */
  readonly language: Language;
  readonly error: CodeEnded["error"];
  /** What the cell displayed: MIME type to its bytes, in the order of display. */
  readonly results: readonly { readonly isResult: boolean; readonly data: ReadonlyMap<string, Uint8Array> }[];
  readonly cpuMs: number;
  readonly wallMs: number;
  /** The interpreter's state was lost; the next cell gets a new one. */
  readonly contextLost: boolean;
  readonly outOfMemory: boolean;
  readonly vmId: VmId;
  /** How the VM was started, when this call started it. */
  readonly start: StartKind | undefined;
  /** How long that took, in ms. */
  readonly readyMs: number | undefined;
}

/** What a session has used so far. */
export interface SessionUsage {
  /** CPU time of its VMs' processes, in ms. */
  readonly cpuMs: number;
  /** How long its VMs ran, in ms. */
  readonly wallMs: number;
  /** Their memory times how long they ran, in MiB ms. */
  readonly memoryMibMs: number;
  /** Calls that ran code. */
  readonly executions: number;
}

/** What clients do with sessions. Every call rejects with an InstaVmError, or with the reason of an aborted signal. */
export interface Sessions {
  /** Starts a VM and records it. On failure or abort neither VM nor live session is left. */
  create(caller: Caller, request: CreateRequest, waiting?: Waiting): Promise<SessionView>;
  /** Also shows sessions that have ended. Throws `session_not_found` for unknown ones and those of others. */
  get(caller: Caller, sessionId: SessionId): Promise<SessionView>;
  /** The caller's sessions, newest first. */
  list(caller: Caller, options: ListOptions): Promise<readonly SessionView[]>;
  /** Figures that only grow. Throws as `get` does. */
  usage(caller: Caller, sessionId: SessionId): Promise<SessionUsage>;
  /** Ends the session and its VM. Throws `forbidden` for those of others, `session_not_found` when it is unknown or has ended. */
  kill(caller: Caller, sessionId: SessionId, waiting?: Waiting): Promise<SessionView>;
  /**
   * Runs code. Throws `context_not_found` for a context that the VM does not have. A session whose VM is dead gets a fresh one, which `start` and `readyMs` say; the time that takes
   * counts against the code's limit, and is bounded by the caller's `timeoutMs`.
   */
  execute(caller: Caller, request: ExecuteRequest, waiting?: Waiting): Promise<ExecuteResult>;
}

/** What health and metrics show. */
export interface HostStatus {
  readonly facts: EngineFacts;
  readonly pool: { readonly size: number; readonly ready: number };
  /** VMs that stand still, to be forked. */
  readonly zygoteCount: number;
  /** Live VMs of sessions; those in the pool are not counted. */
  readonly vmCount: number;
  /** VMs handed to sessions since the server started. */
  readonly startsByKind: Readonly<Record<StartKind, number>>;
}
