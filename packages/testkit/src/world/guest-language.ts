import { createHash } from "node:crypto";
import { InstaVmError } from "@instavm/contract";
import type { Clock, CodeEnded } from "@instavm/core";
import type { FakeCall } from "./fake-call.ts";
import type { FakeContext } from "./guest-contexts.ts";
import type { GuestFaults, GuestState } from "./guest-state.ts";

/** What of a guest a line can reach. */
interface GuestInside {
  readonly clock: Clock;
  readonly state: GuestState;
  readonly faults: GuestFaults;
  crash(): void;
}

/** Where a cell runs. */
export type CellContext = Pick<FakeContext, "language" | "cwd" | "env" | "variables">;

/** A cell while it runs. */
export interface RunningCell {
  readonly call: FakeCall<CodeEnded>;
  readonly context: CellContext;
  readonly guest: GuestInside;
  readonly limitMs: number;
  readonly outputLimitBytes: number;
  outputBytes: number;
}

type Verb = (cell: RunningCell, argument: string) => Promise<Partial<CodeEnded>> | Partial<CodeEnded>;

const timedOut = { exitCode: 124, timedOut: true };
const chunkBytes = 64 * 1024;

/**
 * Runs one line of the toy language. `name = value`, `print(value)`, `echo text` and the verbs below mean something;
 * any other line does nothing. A value is a number, a quoted text, `a*b`, a variable, `env(NAME)`, `cwd()`, `hostname()`,
 * or what the probe of a zygote prints.
 */
export async function runLine(line: string, cell: RunningCell): Promise<Partial<CodeEnded>> {
  const assigned = /^(\w+) = (.+)$/.exec(line);
  if (assigned?.[1] !== undefined && assigned[2] !== undefined) {
    cell.context.variables.set(assigned[1], valueOf(assigned[2], cell));
    return {};
  }
  const echoed = /^echo (.+)$/.exec(line)?.[1];
  if (echoed !== undefined) return write(cell, `${echoed}\n`);
  const [, verb, argument] = /^(\w+)\((.*)\)$/.exec(line) ?? [];
  const run = verb === undefined ? undefined : verbs[verb];
  return run === undefined ? {} : run(cell, argument ?? "");
}

const verbs: Readonly<Record<string, Verb>> = {
  print: (cell, argument) => write(cell, `${valueOf(argument, cell)}\n`),
  /** Sleeps so many ms, or until the time limit. */
  sleep: async (cell, argument) => {
    const ms = Number(argument);
    await cell.call.elapse(cell.guest.clock, Math.min(ms, cell.limitMs));
    return ms > cell.limitMs ? timedOut : {};
  },
  /** Runs until the time limit. */
  forever: async (cell) => {
    await cell.call.elapse(cell.guest.clock, cell.limitMs);
    return timedOut;
  },
  /** Runs into the time limit; so many ms after it the interpreter has to be killed. */
  late: async (cell, argument) => {
    await cell.call.elapse(cell.guest.clock, cell.limitMs + Number(argument));
    return { ...timedOut, contextLost: true };
  },
  /** Never ends by itself, not even at the time limit; the agent still answers. */
  stuck: async (cell) => {
    await cell.call.elapse(cell.guest.clock, Number.POSITIVE_INFINITY);
    return {};
  },
  /** From now on the agent answers nothing. */
  deaf: async (cell) => {
    cell.guest.faults.isDeaf = true;
    await cell.call.elapse(cell.guest.clock, Number.POSITIVE_INFINITY);
    return {};
  },
  /** Breaks the protocol in the middle of the call. */
  garbage: (cell) => {
    cell.call.breakSession(new InstaVmError("guest_protocol", "the agent sent an unknown frame type 99"));
    return {};
  },
  /** The link drops; the agent is fine. */
  drop: (cell) => {
    cell.call.breakSession(new InstaVmError("vm_lost", "the connection to the guest agent ended"));
    return {};
  },
  /** The VM's process dies. */
  crash: (cell) => {
    cell.guest.crash();
    return {};
  },
  /** Writes so many bytes, as far as the output limit lets it. */
  output: (cell, argument) => writeBytes(cell, Number(argument), cell.outputLimitBytes),
  /** Writes so many bytes whatever the limit. */
  flood: (cell, argument) => writeBytes(cell, Number(argument), Number.POSITIVE_INFINITY),
  show: (cell, argument) => {
    const data = new Map([["text/plain", Buffer.from(valueOf(argument, cell))]]);
    cell.call.push({ type: "display", isResult: false, data });
    return {};
  },
  fail: (cell, argument) => {
    const traceback = `Error: ${argument}\n`;
    cell.call.push({ type: "stderr", data: Buffer.from(traceback) });
    return { exitCode: 1, error: { name: "Error", value: argument, traceback } };
  },
  exit: (cell, argument) => {
    cell.context.variables.clear();
    return { exitCode: Number(argument), contextLost: true };
  },
};

function write(cell: RunningCell, text: string): Partial<CodeEnded> {
  cell.call.push({ type: "stdout", data: Buffer.from(text) });
  return {};
}

function writeBytes(cell: RunningCell, bytes: number, limitBytes: number): Partial<CodeEnded> {
  const chunk = Buffer.alloc(chunkBytes, "x");
  for (let left = bytes; left > 0; left -= chunkBytes) {
    const allowed = Math.min(left, chunkBytes, limitBytes - cell.outputBytes);
    if (allowed > 0) cell.call.push({ type: "stdout", data: chunk.subarray(0, allowed) });
    cell.outputBytes += Math.min(left, chunkBytes);
  }
  return {};
}

function valueOf(expression: string, { guest, context }: RunningCell): string {
  const text = expression.trim();
  const quoted = /^["'](.*)["']$/.exec(text)?.[1];
  if (quoted !== undefined) return quoted;
  const [, left, right] = /^(\d+)\*(\d+)$/.exec(text) ?? [];
  if (left !== undefined && right !== undefined) return String(Number(left) * Number(right));
  const named = /^env\((\w+)\)$/.exec(text)?.[1];
  if (named !== undefined) return context.env.get(named) ?? guest.state.env.get(named) ?? "";
  if (text === "hostname()") return guest.state.hostname;
  const [, hashed, times] = /^hashlib\.sha256\(b"(\w+)" \* (\d+)\)\.hexdigest\(\), os\.urandom/.exec(text) ?? [];
  if (hashed !== undefined) {
    // As Python prints two values. What is drawn at random follows from what the guest was given.
    return `${createHash("sha256")
      .update(hashed.repeat(Number(times)))
      .digest("hex")} ${guest.state.entropy.slice(0, 32)}`;
  }
  if (text === "cwd()") return context.cwd;
  return context.variables.get(text) ?? text;
}
