import type { Command as CommandBody } from "@instavm/contract";

/** A program in the background of a VM, as it stood when it was asked for. Times are UTC texts, `2026-01-02T03:04:05Z`. */
export interface CommandInfo {
  /** Counts up from 1 in each VM. */
  readonly commandId: number;
  readonly vmId: string;
  readonly tag: string | undefined;
  /** For people: its script or its arguments, cut. */
  readonly command: string;
  /** In the VM; also its process group. */
  readonly pid: number;
  readonly isRunning: boolean;
  readonly stdinIsOpen: boolean;
  readonly startedAt: string;
  readonly endedAt: string | undefined;
  /** All that it has printed: the offset of the next byte. */
  readonly outputBytes: number;
  /** The offset of the first byte that is kept. */
  readonly outputStart: number;
  /** Output before `outputStart` is gone. */
  readonly truncated: boolean;
  /** 128 + n when signal n ended it; 124 at its timeout. Undefined while it runs. */
  readonly exitCode: number | undefined;
  /** The signal that ended it. */
  readonly signal: number | undefined;
  readonly timedOut: boolean;
  readonly outOfMemory: boolean;
  readonly executionTimeS: number | undefined;
  readonly cpuTimeS: number | undefined;
}

export function toCommandInfo(body: CommandBody): CommandInfo {
  return {
    commandId: body.command_id,
    vmId: body.vm_id,
    tag: body.tag ?? undefined,
    command: body.command,
    pid: body.pid,
    isRunning: body.is_running,
    stdinIsOpen: body.stdin_is_open,
    startedAt: body.started_at,
    endedAt: body.ended_at ?? undefined,
    outputBytes: body.output_bytes,
    outputStart: body.output_start,
    truncated: body.truncated,
    exitCode: body.exit_code ?? undefined,
    signal: body.signal ?? undefined,
    timedOut: body.timed_out,
    outOfMemory: body.out_of_memory,
    executionTimeS: body.execution_time ?? undefined,
    cpuTimeS: body.cpu_time ?? undefined,
  };
}
