import type { ActivateRequest, Clock, CodeEnded, ExecEnded, RunCodeRequest } from "@instavm/core";
import type { FakeCall } from "./fake-call.ts";
import { GuestContexts } from "./guest-contexts.ts";
import { type CellContext, runLine } from "./guest-language.ts";
import { GuestProcesses } from "./guest-processes.ts";
import { freshState, type GuestFaults, type GuestState } from "./guest-state.ts";

/** The inside of a pretend VM: an agent with a toy interpreter whose cells run one after the other. */
export class Guest {
  readonly clock: Clock;
  readonly state: GuestState;
  readonly faults: GuestFaults = { hangsAtBoot: false, isDeaf: false, talksGarbage: false, failingPrograms: new Set() };
  /** Ends the VM's process, as a crash does. */
  crash: () => void = () => {};
  readonly contexts: GuestContexts;
  readonly processes: GuestProcesses;

  constructor(clock: Clock, state: GuestState = freshState()) {
    this.clock = clock;
    this.state = state;
    this.contexts = new GuestContexts(state.variables);
    this.processes = new GuestProcesses(clock);
  }

  activate({ identity, env, unixTimeMs }: ActivateRequest): void {
    if (identity !== undefined) {
      this.state.entropy = Buffer.from(identity.entropy).toString("hex");
      this.state.hostname = identity.hostname;
      this.state.machineId = identity.machineId;
    }
    this.state.unixTimeMs = unixTimeMs;
    for (const [name, value] of Object.entries(env)) this.state.env.set(name, value);
  }

  /** Runs a cell; those of one context wait for each other. */
  async runCode(request: RunCodeRequest, call: FakeCall<CodeEnded>): Promise<void> {
    const context = this.contexts.forCell(request);
    if (context === undefined) {
      await this.#runCell(request, call, freshShell(this.state));
      return;
    }
    const before = context.lastCell;
    const turn = Promise.withResolvers<void>();
    context.lastCell = turn.promise;
    await before;
    context.running = call;
    try {
      await this.#runCell(request, call, context);
    } finally {
      context.running = undefined;
      turn.resolve();
    }
  }

  /** Runs a program. */
  exec(program: string, call: FakeCall<ExecEnded>): void {
    this.state.runs += 1;
    if (program === "rm") this.state.files.clear();
    call.end({
      exitCode: this.faults.failingPrograms.has(program) ? 1 : 0,
      signal: 0,
      timedOut: false,
      truncated: false,
      cpuMs: 1,
      wallMs: 1,
      outOfMemory: false,
    });
  }

  async #runCell(request: RunCodeRequest, call: FakeCall<CodeEnded>, context: CellContext): Promise<void> {
    this.state.runs += 1;
    const startedAtMs = this.clock.monotonicMs();
    const cell = {
      call,
      context,
      guest: this,
      limitMs: request.limitMs ?? Number.POSITIVE_INFINITY,
      outputLimitBytes: request.outputLimitBytes ?? Number.POSITIVE_INFINITY,
      outputBytes: 0,
    };
    const outcome: Partial<CodeEnded> = {};
    for (const line of request.code.split("\n")) {
      if (call.isOver) return;
      Object.assign(outcome, await runLine(line.trim(), cell));
      if (outcome.exitCode !== undefined) break;
    }
    call.end({
      exitCode: 0,
      timedOut: false,
      truncated: cell.outputBytes > cell.outputLimitBytes,
      language: context.language,
      error: undefined,
      cpuMs: 1,
      wallMs: this.clock.monotonicMs() - startedAtMs,
      contextLost: false,
      outOfMemory: false,
      ...outcome,
    });
  }
}

/** A Bash cell without a context. */
function freshShell({ variables }: GuestState): CellContext {
  return { language: "bash", cwd: "/root", env: new Map(), variables };
}
