import { InstaVmError, outputLimitBytes } from "@instavm/contract";
import type { AgentSession, CodeEnded } from "../ports/agent-link.ts";
import type { Clock } from "../ports/surroundings.ts";
import { readCall } from "../vm/agent-calls.ts";
import { startDeadline, untilAborted } from "../waiting/deadline.ts";
import { CollectedOutput } from "./collected-output.ts";
import type { ExecuteRequest } from "./sessions.ts";

const timeLimitExitCode = 124;

/** How a cell ended, with what it printed. */
export interface FinishedCell {
  readonly ended: CodeEnded;
  readonly output: CollectedOutput;
}

/** `silent`: the guest let its time limit pass and answers nothing any more. */
export type CellOutcome = FinishedCell | "silent";

/** What bounds a cell from outside. */
export interface CellBounds {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** How long beyond the cell's own limit the guest may take to say that it ended, in ms. */
  readonly graceMs: number;
  /** How long a guest that let this pass too may take to show that it lives, in ms. */
  readonly pingTimeoutMs: number;
}

/**
 * Runs a cell. The guest keeps the time limit. When it has not done so after the grace, the cell is cancelled and
 * counts as timed out if the agent still answers a ping (a cell that waited behind another one), else as silent.
 * Rejects when the call fails or the caller gives up.
 */
export async function runCell(
  session: AgentSession,
  request: ExecuteRequest,
  bounds: CellBounds,
): Promise<CellOutcome> {
  const output = new CollectedOutput(outputLimitBytes);
  const { code, limitMs, language = "detect" } = request;
  using deadline = startDeadline(bounds.clock, {
    timeoutMs: limitMs + bounds.graceMs,
    signal: bounds.signal,
    expired: () => new InstaVmError("timeout", `the code did not end within ${limitMs} ms`),
  });
  const startedAtMs = bounds.clock.monotonicMs();
  try {
    const call = session.runCode({ code, language, limitMs, outputLimitBytes }, { signal: deadline.signal });
    const ended = await untilAborted(
      readCall(call, (event) => output.take(event)),
      deadline.signal,
    );
    return { ended, output };
  } catch (error) {
    if (!deadline.hasExpired() || bounds.signal.aborted) throw error;
    if (!(await answers(session, bounds))) return "silent";
    return { ended: timedOut(request, bounds.clock.monotonicMs() - startedAtMs), output };
  }
}

async function answers(session: AgentSession, { signal, pingTimeoutMs }: CellBounds): Promise<boolean> {
  try {
    await session.ping({ signal, timeoutMs: pingTimeoutMs });
    return true;
  } catch {
    signal.throwIfAborted();
    return false;
  }
}

function timedOut(request: ExecuteRequest, wallMs: number): CodeEnded {
  return {
    exitCode: timeLimitExitCode,
    timedOut: true,
    truncated: false,
    language: request.language ?? "python",
    error: undefined,
    cpuMs: 0,
    wallMs,
    contextLost: false,
    outOfMemory: false,
  };
}
