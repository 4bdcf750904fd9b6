import { InstaVmError, outputLimitBytes } from "@instavm/contract";
import type { AgentSession, CodeEnded } from "../ports/agent-link.ts";
import type { Clock } from "../ports/surroundings.ts";
import { readCall } from "../vm/agent-calls.ts";
import { joinSignals, untilAborted } from "../waiting/deadline.ts";
import { CollectedOutput } from "./collected-output.ts";
import type { ExecuteRequest } from "./sessions.ts";

const timeLimitExitCode = 124;
/** How long output that has arrived may take to be read. */
const deliveryMs = 20;
const lastResortMs = 120_000;

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
  /** Called when the guest let this pass too: finds out whether it lives. */
  readonly isAlive: () => Promise<boolean>;
}

/**
 * Runs a cell. The guest keeps the time limit. When it has not done so, it is asked whether it lives: if so, and the
 * cell has not ended within the grace either (it waited behind another one, for example), the cell is cancelled and
 * counts as timed out; if not, the guest is silent. Rejects when the call fails or the caller gives up.
 */
export async function runCell(
  session: AgentSession,
  request: ExecuteRequest,
  bounds: CellBounds,
): Promise<CellOutcome> {
  const { clock, signal, graceMs } = bounds;
  const { code, limitMs, language = "detect" } = request;
  const output = new CollectedOutput(outputLimitBytes);
  const cancel = new AbortController();
  const startedAtMs = clock.monotonicMs();
  try {
    const waiting = {
      signal: joinSignals(cancel.signal, signal),
      // The last resort: everything below is over before.
      timeoutMs: limitMs + graceMs + lastResortMs,
    };
    const call = session.runCode({ code, language, limitMs, outputLimitBytes }, waiting);
    const reading = readCall(call, (event) => output.take(event));
    const ended = await endOf(reading, limitMs, bounds);
    if (ended === "silent") return ended;
    return { ended: ended ?? timedOut(request, clock.monotonicMs() - startedAtMs), output };
  } finally {
    cancel.abort(new InstaVmError("timeout", `the code did not end within ${limitMs} ms`));
  }
}

/** How the cell ended; undefined when the guest lives and the cell has not ended in time. */
async function endOf(
  reading: Promise<CodeEnded>,
  limitMs: number,
  bounds: CellBounds,
): Promise<CodeEnded | undefined | "silent"> {
  const { signal, graceMs, isAlive } = bounds;
  const inTime = await within(reading, limitMs, bounds);
  if (inTime !== undefined) return inTime;
  // Asked now, answered while the grace runs: a busy machine is slow to answer both.
  const alive = isAlive();
  const inGrace = await within(reading, graceMs, bounds);
  if (inGrace !== undefined) return inGrace;
  const answer = await untilAborted(Promise.race([reading, alive]), signal);
  if (answer === false) return "silent";
  // What the guest sent before it showed that it lives is on its way to the reader.
  return answer === true ? within(reading, deliveryMs, bounds) : answer;
}

/** The outcome of `work`, or undefined when it takes longer. */
async function within<T>(
  work: Promise<T>,
  timeoutMs: number,
  { clock, signal }: Pick<CellBounds, "clock" | "signal">,
): Promise<T | undefined> {
  const elapsed = Promise.withResolvers<undefined>();
  const cancelTimer = clock.after(timeoutMs, () => elapsed.resolve(undefined));
  try {
    return await untilAborted(Promise.race([work, elapsed.promise]), signal);
  } finally {
    cancelTimer();
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
