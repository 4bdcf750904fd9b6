import { InstaVmError } from "@instavm/contract";
import type { AgentSession, CodeEnded, OutputEvent } from "../ports/agent-link.ts";
import type { Clock } from "../ports/surroundings.ts";
import { readCall, type TakeOutput } from "../vm/agent-calls.ts";
import { joinSignals, untilAborted } from "../waiting/deadline.ts";
import type { ExecuteRequest } from "./sessions.ts";

const timeLimitExitCode = 124;
const lastResortMs = 120_000;
/** So long before the time limit a guest is asked whether it lives. */
const probeAheadMs = 2_000;

/** `silent`: the guest let its time limit pass and answers nothing any more. */
export type CellOutcome = CodeEnded | "silent";

/** A cell and who reads its output. */
export interface Cell {
  readonly request: ExecuteRequest;
  /** Where the guest cuts stdout and stderr, each; undefined = nowhere. */
  readonly outputLimitBytes: number | undefined;
  readonly take: TakeOutput;
}

/** What bounds a cell from outside. */
export interface CellBounds {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** How long beyond the cell's own limit the guest may take to say that it ended, in ms. */
  readonly graceMs: number;
  /** Called when the time limit is near: finds out whether the guest lives. */
  readonly isAlive: () => Promise<boolean>;
}

/**
 * Runs a cell. The guest keeps the time limit. Shortly before it the guest is asked whether it lives: if so, and the
 * cell has not ended within the grace either (it waited behind another one, for example), the cell is cancelled and
 * counts as timed out; if not, the guest is silent. A reader that still holds back output at the limit is waited for
 * a while. Rejects when the call fails, the reader does, or the caller gives up.
 */
export async function runCell(session: AgentSession, cell: Cell, bounds: CellBounds): Promise<CellOutcome> {
  const { clock, signal, graceMs } = bounds;
  const { code, limitMs, contextId, language = "detect" } = cell.request;
  const { outputLimitBytes } = cell;
  const gate = new OutputGate(cell.take);
  const cancel = new AbortController();
  const startedAtMs = clock.monotonicMs();
  let hasEnded = false;
  try {
    const waiting = {
      signal: joinSignals(cancel.signal, signal),
      // The last resort: everything below is over before.
      timeoutMs: limitMs + graceMs + 2 * lastResortMs,
    };
    const limits = { limitMs, ...(outputLimitBytes === undefined ? {} : { outputLimitBytes }) };
    const where = contextId === undefined ? {} : { contextId };
    const call = session.runCode({ code, language, ...where, ...limits }, waiting);
    const reading = readCall(call, (event) => gate.pass(event));
    const ended = await endOf({ reading, gate }, limitMs, bounds);
    hasEnded = ended !== undefined && ended !== "silent";
    return ended ?? timedOut(cell.request, clock.monotonicMs() - startedAtMs);
  } finally {
    // Behind a call that has ended nobody waits for it.
    if (!hasEnded) cancel.abort(new InstaVmError("timeout", `the code did not end within ${limitMs} ms`));
  }
}

interface Reading {
  readonly reading: Promise<CodeEnded>;
  readonly gate: OutputGate;
}

/** How the cell ended; undefined when the guest lives and the cell has not ended in time. */
async function endOf(
  { reading, gate }: Reading,
  limitMs: number,
  bounds: CellBounds,
): Promise<CodeEnded | undefined | "silent"> {
  const { signal, graceMs, isAlive } = bounds;
  const aheadMs = Math.min(probeAheadMs, limitMs / 2);
  const atEase = await within(reading, limitMs - aheadMs, bounds);
  if (atEase !== undefined) return atEase;
  // The guest of a busy machine, or one full of processes, is slow to answer, and the caller cannot wait long.
  const alive = isAlive();
  const inGrace = await within(reading, aheadMs + graceMs, bounds);
  if (inGrace !== undefined) return inGrace;
  const answer = await untilAborted(Promise.race([reading, alive]), signal);
  if (answer === false) return "silent";
  if (answer !== true) return answer;
  return gate.held === undefined ? undefined : endBehindReader({ reading, gate }, bounds);
}

/** The guest's word on the end is behind output that a slow reader has not taken yet. */
async function endBehindReader({ reading, gate }: Reading, bounds: CellBounds): Promise<CodeEnded | undefined> {
  const { clock, graceMs } = bounds;
  const untilMs = clock.monotonicMs() + lastResortMs;
  while (gate.held !== undefined) {
    const leftMs = untilMs - clock.monotonicMs();
    if (leftMs <= 0) {
      throw new InstaVmError("timeout", `The code's output was not read within ${lastResortMs} ms of its time limit.`);
    }
    await within(Promise.race([reading, gate.held]), leftMs, bounds);
    const ended = await within(reading, graceMs, bounds);
    if (ended !== undefined) return ended;
  }
  return undefined;
}

/** Knows whether the reader holds output back. */
class OutputGate {
  readonly #take: TakeOutput;
  /** Settles when the reader takes more; undefined while it is not busy. */
  held: Promise<void> | undefined;

  constructor(take: TakeOutput) {
    this.#take = take;
  }

  pass(event: OutputEvent): void | Promise<void> {
    const taken = this.#take(event);
    return taken === undefined ? undefined : this.#hold(taken);
  }

  async #hold(taken: Promise<void>): Promise<void> {
    this.held = taken;
    try {
      await taken;
    } finally {
      this.held = undefined;
    }
  }
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
