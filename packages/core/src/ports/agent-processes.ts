import type { ExecEnded, ExecRequest } from "./agent-exec.ts";
import type { Waiting } from "./waiting.ts";

/** A process that outlives the call and the session that started it. */
export interface GuestProcess {
  /** Counts up from 1 in each VM; never used again. */
  readonly processId: number;
  /** In the VM. */
  readonly pid: number;
  readonly tag: string;
  /** For people: its arguments or its script, cut. */
  readonly command: string;
  /** In ms since 1970 UTC, by the VM's clock. */
  readonly startedAtMs: number;
  readonly stdinIsOpen: boolean;
  /** Offset behind its last byte of output, stdout and stderr together. */
  readonly outputBytes: number;
  /** Offset of the first byte that is kept. */
  readonly outputStart: number;
  /** undefined while it runs. `truncated`: the start of its output is gone. */
  readonly ended: (ExecEnded & { readonly endedAtMs: number }) | undefined;
}

/** What to start: as for `exec`, without a cut of its output. */
export interface StartProcessRequest extends Omit<ExecRequest, "outputLimitBytes"> {
  /** At most 256 bytes of free text. */
  readonly tag?: string;
}

/** The next byte of output is at `offset`; `droppedBytes` right before it were lost, because the reader was too slow or too late. */
export interface OutputPosition {
  readonly type: "position";
  readonly offset: number;
  readonly droppedBytes: number;
}

/** Output of a process. The first event is a position. */
export type ProcessOutputEvent =
  | OutputPosition
  | { readonly type: "stdout"; readonly data: Uint8Array }
  | { readonly type: "stderr"; readonly data: Uint8Array };

/** One reader of a process. Iterate to the end, then await `state`. Leaving early, or aborting, leaves the process alone. */
export interface ProcessReader extends AsyncIterable<ProcessOutputEvent> {
  /** How the process stood when the reader came to its end. */
  readonly state: Promise<GuestProcess>;
}

/** Where a reader begins and ends. */
export interface AttachOptions extends Waiting {
  /** Default 0. One that is not reached yet is waited for; one that is no longer kept is told by the first position. */
  readonly offset?: number;
  /** `offset` counts backwards from the last byte. */
  readonly fromEnd?: boolean;
  /** false: to the last byte that is there now. Default: to the end of the process. */
  readonly follow?: boolean;
}

/**
 * Processes that outlive calls. The agent keeps the last 1 MiB of output of each (less when many share its memory) and
 * remembers the last ones that ended; an id that it does not know is `command_not_found`. A process is never stopped for a slow reader.
 */
export interface AgentProcesses {
  /** Resolves when it runs. */
  start(request: StartProcessRequest, waiting?: Waiting): Promise<GuestProcess>;
  /** All that run and the last ones that ended, oldest first. */
  list(waiting?: Waiting): Promise<readonly GuestProcess[]>;
  attach(processId: number, options?: AttachOptions): ProcessReader;
  /** Resolves with the number of bytes when the process's pipe took all of them; `close` closes stdin then. A closed stdin is a `conflict`. */
  writeStdin(
    processId: number,
    content: AsyncIterable<Uint8Array> | Uint8Array,
    options?: Waiting & { readonly close?: boolean },
  ): Promise<number>;
  /** 1 to 64, for its process group; 9 ends every process that it has started. One that has ended is left as it is. */
  signal(processId: number, signal: number, waiting?: Waiting): Promise<GuestProcess>;
  /** Resolves when it has ended. */
  wait(processId: number, waiting?: Waiting): Promise<GuestProcess>;
  /** Forgets it and its output. One that runs is ended first, with all that it has started. Resolves with how it ended. */
  forget(processId: number, waiting?: Waiting): Promise<GuestProcess>;
}
