import { InstaVmError } from "@instavm/contract";
import type { Commands, GuestProcess, TakeCommandOutput, Waiting } from "@instavm/core";

/** Commands without VMs, whose output is whatever the test sends. */
export class ScriptedCommands implements Commands {
  /** What a reader gets, behind the first position. */
  behaviour: (take: TakeCommandOutput, signal: AbortSignal | undefined) => Promise<void> = async () => undefined;

  async readOutput(
    _caller: unknown,
    _request: unknown,
    { take, signal }: Waiting & { readonly take: TakeCommandOutput },
  ): Promise<GuestProcess> {
    await take({ type: "position", offset: 0, droppedBytes: 0 });
    await this.behaviour(take, signal);
    return ended;
  }

  start = unused;
  list = unused;
  get = unused;
  writeStdin = unused;
  signal = unused;
  forget = unused;
}

async function unused(): Promise<never> {
  throw new InstaVmError("internal", "no test asks for this");
}

const ended: GuestProcess = {
  processId: 1,
  pid: 2,
  tag: "",
  command: "yes",
  startedAtMs: 0,
  stdinIsOpen: false,
  outputBytes: 0,
  outputStart: 0,
  ended: {
    exitCode: 0,
    signal: 0,
    timedOut: false,
    truncated: false,
    cpuMs: 1,
    wallMs: 1,
    outOfMemory: false,
    endedAtMs: 1,
  },
};
