import { InstaVmError, type SessionId } from "@instavm/contract";
import type { CodeEnded } from "../ports/agent-link.ts";
import type { Records, SessionRecord } from "../ports/records.ts";
import type { Clock } from "../ports/surroundings.ts";
import type { Waiting } from "../ports/waiting.ts";
import type { TakeOutput } from "../vm/agent-calls.ts";
import { joinSignals, startDeadline } from "../waiting/deadline.ts";
import type { WorkGauge } from "../waiting/work-gauge.ts";
import { runOn } from "./run-on-vm.ts";
import { endOf, unknownSession } from "./session-rules.ts";
import type { SessionSettings } from "./session-settings.ts";
import type { LiveVm, SessionVms } from "./session-vms.ts";
import type { Caller, ExecuteRequest } from "./sessions.ts";
import type { UsageMeter } from "./usage-meter.ts";

/** What cells are run with. */
export interface CellsParts {
  readonly records: Pick<Records, "sessions">;
  readonly vms: SessionVms;
  readonly meter: UsageMeter;
  readonly gauge: WorkGauge;
  readonly clock: Clock;
  /** Fires when the server stops. */
  readonly closing: AbortSignal;
  readonly settings: SessionSettings;
}

/** A cell that a client asked for, and who reads what it prints. */
export interface CellRun {
  readonly request: ExecuteRequest;
  /** Where the guest cuts stdout and stderr, each; undefined = nowhere. */
  readonly outputLimitBytes: number | undefined;
  readonly take: TakeOutput;
  /** Called once, when the VM is there and before the code runs. */
  readonly onLive?: (live: LiveVm) => void | Promise<void>;
}

/** How a cell ended, and where it ran. */
export interface CellEnd {
  readonly ended: CodeEnded;
  readonly live: LiveVm;
}

/** Runs code in sessions, whoever reads its output: from the check of the owner to the end. */
export class Cells {
  readonly #parts: CellsParts;

  constructor(parts: CellsParts) {
    this.#parts = parts;
  }

  /** The session, when it is the caller's and has not ended; else throws `session_not_found`. */
  async usable(caller: Caller, sessionId: SessionId): Promise<SessionRecord> {
    const { records, clock } = this.#parts;
    const session = await records.sessions.find(sessionId, caller.keyId);
    if (session === undefined) throw unknownSession(sessionId);
    const end = endOf(session, clock.nowMs());
    if (end !== undefined) throw end;
    return session;
  }

  /** The session's live VM, a fresh one when that is dead; bounded by the caller's `timeoutMs`. */
  async live(session: SessionRecord, waiting: Waiting): Promise<LiveVm> {
    const { clock, closing, settings, vms } = this.#parts;
    const timeoutMs = waiting.timeoutMs ?? settings.createTimeoutMs;
    using deadline = startDeadline(clock, {
      timeoutMs,
      signal: joinSignals(closing, waiting.signal),
      expired: () => new InstaVmError("unavailable", `the VM was not ready within ${timeoutMs} ms`),
    });
    return await vms.live(session, deadline.signal);
  }

  /** Runs a cell to its end. The time that a fresh VM takes counts against the code's limit. */
  async run(caller: Caller, run: CellRun, waiting: Waiting = {}): Promise<CellEnd> {
    const { gauge, closing, clock, meter, settings } = this.#parts;
    using _work = gauge.enter();
    const signal = joinSignals(closing, waiting.signal);
    signal.throwIfAborted();
    const { request, outputLimitBytes, take } = run;
    const session = await this.usable(caller, request.sessionId);
    const startedAtMs = clock.monotonicMs();
    const live = await this.live(session, waiting);
    meter.count(session.sessionId, live.sandbox.vmId);
    await run.onLive?.(live);
    // The caller's time also runs while a VM is started.
    const limitMs = Math.max(1, Math.floor(request.limitMs - (clock.monotonicMs() - startedAtMs)));
    const bounds = { clock, signal, ...settings };
    const ended = await runOn(live, { session, request: { ...request, limitMs }, outputLimitBytes, take, bounds });
    return { ended, live };
  }
}
