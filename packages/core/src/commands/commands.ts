import type { GuestProcess, ProcessOutputEvent, StartProcessRequest } from "../ports/agent-processes.ts";
import type { Waiting } from "../ports/waiting.ts";
import type { VmReference } from "../sessions/own-vms.ts";
import type { Caller } from "../sessions/sessions.ts";

/** A command of a VM: what a client started there as a process that belongs to no call. */
export interface CommandPlace {
  readonly vm: VmReference;
  readonly processId: number;
}

/** Which part of a command's output is read. */
export interface ReadOutputRequest extends CommandPlace {
  readonly offset: number;
  /** `offset` counts backwards from the last byte. */
  readonly fromEnd: boolean;
  /** To the end of the command; else what is there now. */
  readonly follow: boolean;
}

/** Takes a piece of output; the next one comes when what it returns has resolved. The first is a position. */
export type TakeCommandOutput = (event: ProcessOutputEvent) => void | Promise<void>;

/**
 * Commands in the background of VMs. Every call rejects with an InstaVmError, or with the reason of an aborted signal; a
 * command that there is not, or that is forgotten, is `command_not_found`. At most 64 calls that wait for commands of one
 * VM (readers, writers to stdin, waits for an end) run at once; a further one is `limit_exceeded`.
 */
export interface Commands {
  /** Resolves when it runs. Throws `limit_exceeded`, and `file_not_found` for a program or user that the VM does not have. */
  start(
    caller: Caller,
    request: StartProcessRequest & { readonly vm: VmReference },
    waiting?: Waiting,
  ): Promise<GuestProcess>;
  /** All that run and the last ones that ended, oldest first. */
  list(caller: Caller, vm: VmReference, waiting?: Waiting): Promise<readonly GuestProcess[]>;
  /** Resolves at its end, or after `waitMs` with how it stands then. */
  get(caller: Caller, request: CommandPlace & { readonly waitMs: number }, waiting?: Waiting): Promise<GuestProcess>;
  /** Reads to the end, or to what is there now; resolves with how the command stood then. Leaving it changes nothing for it. */
  readOutput(
    caller: Caller,
    request: ReadOutputRequest,
    options: Waiting & { readonly take: TakeCommandOutput },
  ): Promise<GuestProcess>;
  /** Resolves with the number of bytes when the command's pipe took all of them. A closed stdin is a `conflict`. */
  writeStdin(
    caller: Caller,
    request: CommandPlace & { readonly content: AsyncIterable<Uint8Array>; readonly close: boolean },
    waiting?: Waiting,
  ): Promise<number>;
  /** 1 to 64, for its process group; 9 ends all that it has started. One that has ended is left as it is. */
  signal(caller: Caller, request: CommandPlace & { readonly signal: number }, waiting?: Waiting): Promise<GuestProcess>;
  /** Forgets it and its output; one that runs is ended first, with all that it has started. */
  forget(caller: Caller, place: CommandPlace, waiting?: Waiting): Promise<GuestProcess>;
}
