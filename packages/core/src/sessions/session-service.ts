import { InstaVmError, outputLimitBytes, type SessionId } from "@instavm/contract";
import type { Host } from "../host/host.ts";
import type { OutputEvent } from "../ports/agent-link.ts";
import type { ListOptions, Records, SessionRecord, SessionWithVm } from "../ports/records.ts";
import type { Chance, Clock, Log } from "../ports/surroundings.ts";
import type { Waiting } from "../ports/waiting.ts";
import { newSessionId } from "../vm/ids.ts";
import { type Deadline, joinSignals, startDeadline } from "../waiting/deadline.ts";
import type { WorkGauge } from "../waiting/work-gauge.ts";
import type { CellEnd, Cells } from "./cells.ts";
import { CollectedOutput } from "./collected-output.ts";
import type { Lifetimes } from "./lifetimes.ts";
import { withLossNotice } from "./loss-notice.ts";
import { unknownSession } from "./session-rules.ts";
import type { SessionSettings } from "./session-settings.ts";
import type { SessionVms } from "./session-vms.ts";
import type {
  Caller,
  CreateRequest,
  ExecuteRequest,
  ExecuteResult,
  Sessions,
  SessionUsage,
  SessionView,
} from "./sessions.ts";
import type { UsageMeter } from "./usage-meter.ts";

const expireRetryMs = 5_000;

/** What the service works with. */
export interface SessionServiceParts {
  readonly host: Host;
  readonly vms: SessionVms;
  readonly cells: Cells;
  readonly records: Pick<Records, "sessions" | "vms">;
  readonly lifetimes: Lifetimes;
  readonly meter: UsageMeter;
  readonly gauge: WorkGauge;
  readonly clock: Clock;
  readonly chance: Chance;
  readonly log: Log;
  /** Fires when the server stops. */
  readonly closing: AbortSignal;
  readonly settings: SessionSettings;
}

/** The clients' calls, from the check of the owner to the result. */
export class SessionService implements Sessions {
  readonly #parts: SessionServiceParts;

  constructor(parts: SessionServiceParts) {
    this.#parts = parts;
  }

  async create(caller: Caller, request: CreateRequest, waiting: Waiting = {}): Promise<SessionView> {
    const { gauge, vms, lifetimes, clock, chance } = this.#parts;
    using _work = gauge.enter();
    using deadline = this.#startDeadline(waiting);
    const createdAtMs = clock.nowMs();
    const session: SessionRecord = {
      sessionId: newSessionId(chance),
      keyId: caller.keyId,
      name: request.name,
      shape: request.shape,
      env: request.env,
      metadata: request.metadata,
      lifetimeS: request.lifetimeS,
      createdAtMs,
      expiresAtMs: createdAtMs + request.lifetimeS * 1000,
      vmId: undefined,
      endedAtMs: undefined,
      endReason: undefined,
    };
    const { vm, started } = await vms.open(session, deadline.signal);
    lifetimes.schedule(session.sessionId, session.expiresAtMs);
    return { ...this.#view({ session: { ...session, vmId: vm.vmId }, vm }), readyMs: started.readyMs };
  }

  async get(caller: Caller, sessionId: SessionId): Promise<SessionView> {
    return this.#view(await this.#own(caller, sessionId));
  }

  async list(caller: Caller, options: ListOptions): Promise<readonly SessionView[]> {
    const found = await this.#parts.records.sessions.listByKey(caller.keyId, options);
    return found.map((one) => this.#view(one));
  }

  async usage(caller: Caller, sessionId: SessionId): Promise<SessionUsage> {
    const { session } = await this.#own(caller, sessionId);
    return this.#parts.meter.read(session);
  }

  async kill(caller: Caller, sessionId: SessionId, waiting: Waiting = {}): Promise<SessionView> {
    const { records, vms, lifetimes } = this.#parts;
    waiting.signal?.throwIfAborted();
    const own = await records.sessions.findOwn(sessionId, caller.keyId);
    if (own === undefined && (await records.sessions.find(sessionId)) !== undefined) {
      throw new InstaVmError("forbidden", `Session ${sessionId} belongs to another key; only its owner can kill it`);
    }
    if (own === undefined) throw unknownSession(sessionId);
    await vms.end(own.session, "killed");
    lifetimes.cancel(sessionId);
    return this.get(caller, sessionId);
  }

  async execute(caller: Caller, request: ExecuteRequest, waiting: Waiting = {}): Promise<ExecuteResult> {
    const output = new CollectedOutput(outputLimitBytes);
    const run = { request, outputLimitBytes, take: (event: OutputEvent) => output.take(event) };
    return resultOf(output, await this.#parts.cells.run(caller, run, waiting));
  }

  /** Ends a session whose lifetime is over. For the timer; says itself what goes wrong. */
  async expire(sessionId: SessionId): Promise<void> {
    const { records, vms, log, lifetimes, clock } = this.#parts;
    try {
      const session = await records.sessions.find(sessionId);
      if (session === undefined || session.endedAtMs !== undefined) return;
      await vms.end(session, "expired");
    } catch (error) {
      if (error instanceof InstaVmError && error.code === "session_not_found") return;
      log.error("session.expire_failed", { sessionId, error });
      lifetimes.schedule(sessionId, clock.nowMs() + expireRetryMs);
    }
  }

  async #own(caller: Caller, sessionId: SessionId): Promise<SessionWithVm> {
    const own = await this.#parts.records.sessions.findOwn(sessionId, caller.keyId);
    if (own === undefined) throw unknownSession(sessionId);
    return own;
  }

  #view({ session, vm }: SessionWithVm): SessionView {
    const vmAlive = session.vmId !== undefined && this.#parts.host.find(session.vmId) !== undefined;
    return { session, vm, vmAlive, readyMs: undefined };
  }

  #startDeadline(waiting: Waiting): Deadline {
    const { clock, closing, settings } = this.#parts;
    const timeoutMs = waiting.timeoutMs ?? settings.createTimeoutMs;
    return startDeadline(clock, {
      timeoutMs,
      signal: joinSignals(closing, waiting.signal),
      expired: () => new InstaVmError("unavailable", `the VM was not ready within ${timeoutMs} ms`),
    });
  }
}

function resultOf(output: CollectedOutput, { ended, live: { sandbox, started } }: CellEnd): ExecuteResult {
  return {
    stdout: output.stdout(),
    stderr: withLossNotice(output.stderr(), ended),
    exitCode: ended.exitCode,
    timedOut: ended.timedOut,
    truncated: ended.truncated || output.isCut,
    language: ended.language,
    error: ended.error,
    results: output.displays,
    cpuMs: ended.cpuMs,
    wallMs: ended.wallMs,
    contextLost: ended.contextLost,
    outOfMemory: ended.outOfMemory,
    vmId: sandbox.vmId,
    start: started?.start,
    readyMs: started?.readyMs,
  };
}
