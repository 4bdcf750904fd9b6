import { defaultShape, type SessionId, type Shape, type VmId } from "@instavm/contract";
import type { Caller, ExecuteResult, ForkVmRequest, Platform, SessionView, VmView, Waiting } from "@instavm/core";
import { sampleKeyId, sampleVmId } from "../samples.ts";

/** What a test's client asks for; the rest is the default. */
export interface FakeCreate {
  readonly shape?: Shape;
  readonly lifetimeS?: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** How a test's cell runs; Python and 1 s when nothing is said. */
export interface FakeRun extends Waiting {
  readonly language?: "python" | "bash";
  readonly contextId?: string;
  readonly limitMs?: number;
}

/** One client of a platform, with one key. */
export class FakeClient {
  readonly caller: Caller;
  readonly #platform: Platform;

  constructor(platform: Platform, keyNumber: number = 1) {
    this.#platform = platform;
    this.caller = { keyId: sampleKeyId(keyNumber), role: "user" };
  }

  create(request: FakeCreate = {}, waiting?: Waiting): Promise<SessionView> {
    const { shape = defaultShape, lifetimeS = 300, env = {} } = request;
    return this.#platform.sessions.create(this.caller, { shape, lifetimeS, env, metadata: {} }, waiting);
  }

  /** Forks a VM once, unless the request says otherwise; undefined = one that there is not. */
  fork(vmId: VmId | undefined, request: Partial<ForkVmRequest> = {}, waiting?: Waiting): Promise<readonly VmView[]> {
    const whole = { count: 1, env: {}, metadata: {}, ...request, ...waiting };
    return this.#platform.vms.fork(this.caller, vmId ?? sampleVmId(99), whole);
  }

  /** Creates a session and returns its id. */
  async open(request?: FakeCreate): Promise<SessionId> {
    return (await this.create(request)).session.sessionId;
  }

  execute(sessionId: SessionId, code: string, run: FakeRun = {}): Promise<ExecuteResult> {
    const { language = "python", limitMs = 1000, contextId, ...waiting } = run;
    const request = { sessionId, code, language, limitMs, contextId };
    return this.#platform.sessions.execute(this.caller, request, waiting);
  }

  /** Runs code and returns what it printed. */
  async print(sessionId: SessionId, code: string, run?: FakeRun): Promise<string> {
    const { stdout } = await this.execute(sessionId, code, run);
    return Buffer.from(stdout).toString();
  }

  get(sessionId: SessionId): Promise<SessionView> {
    return this.#platform.sessions.get(this.caller, sessionId);
  }

  list(limit: number): Promise<readonly SessionView[]> {
    return this.#platform.sessions.list(this.caller, { limit });
  }

  kill(sessionId: SessionId): Promise<SessionView> {
    return this.#platform.sessions.kill(this.caller, sessionId);
  }
}
