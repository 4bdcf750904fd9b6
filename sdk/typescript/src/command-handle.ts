import { InstaVmError, operations } from "@instavm/contract";
import type { SignalName } from "@instavm/contract";
import { toCommandInfo } from "./command-answers.ts";
import type { CommandInfo } from "./command-answers.ts";
import { Breaks } from "./breaks.ts";
import { commandOutput } from "./command-output.ts";
import type { CommandOutput, OutputStart } from "./command-output.ts";
import { isInstaVmError } from "./errors.ts";
import { bytesBody } from "./file-source.ts";
import type { FileSource } from "./file-source.ts";
import type { CallOptions, Transport } from "./transport.ts";

export interface ReadOutputOptions extends CallOptions {
  /** The first byte wanted, by default the first one that there was: the last `nextOffset` that came, to go on after a break. */
  readonly offset?: number;
  /** `offset` counts backwards from the last byte: 0 is only what is new. */
  readonly fromEnd?: boolean;
  /** False: what is there now, and not to its end. */
  readonly follow?: boolean;
}

const dayMs = 24 * 3600 * 1000;
const waitTimeoutMs = 900_000;
/** One request waits no longer than what stands between client and server puts up with. */
const longestWaitS = 25;
/** Beyond what the server was asked to wait. */
const patienceMs = 10_000;

/** The stdin of a command that was started with one. Throws `conflict` when it is not open. */
export class CommandStdin {
  readonly #transport: Transport;
  readonly #info: CommandInfo;

  constructor(transport: Transport, info: CommandInfo) {
    this.#transport = transport;
    this.#info = info;
  }

  /** Writes; resolves when the command's pipe has taken all of it. With `close` its stdin ends behind that. */
  async write(content: FileSource, options: CallOptions & { readonly close?: boolean } = {}): Promise<void> {
    const query = options.close === true ? { query: { close: "true" as const } } : {};
    const input = { ...paramsOf(this.#info), ...query, raw: bytesBody(content) };
    await this.#transport.call(operations.writeStdin, input, { timeoutMs: waitTimeoutMs, ...options });
  }

  /** Ends it. */
  async close(options: CallOptions = {}): Promise<void> {
    await this.write("", { ...options, close: true });
  }
}

/**
 * A program that runs, or ran, in the background of a VM. It runs on without any reader, and any number can read: a loop over
 * it gives its output from the first byte that is kept, `exit` at last. `await using` ends it, and all that it started, at the
 * end of the block.
 */
export class Command implements AsyncDisposable, AsyncIterable<CommandOutput> {
  /** As it stood when it was started, or attached to. */
  readonly info: CommandInfo;
  readonly stdin: CommandStdin;
  readonly #transport: Transport;
  readonly #offset: number;

  constructor(transport: Transport, info: CommandInfo, offset: number) {
    this.info = info;
    this.stdin = new CommandStdin(transport, info);
    this.#transport = transport;
    this.#offset = offset;
  }

  /** Counts up from 1 in each VM. */
  get commandId(): number {
    return this.info.commandId;
  }

  /** How it stands now. */
  async refresh(options: CallOptions = {}): Promise<CommandInfo> {
    return toCommandInfo(await this.#transport.call(operations.getCommand, paramsOf(this.info), options));
  }

  /** Sends a signal to it and the processes of its group, by default SIGTERM; SIGKILL ends all that it has started. */
  async kill(signal: SignalName | number = "SIGTERM", options: CallOptions = {}): Promise<CommandInfo> {
    const input = { ...paramsOf(this.info), body: { signal } };
    return toCommandInfo(await this.#transport.call(operations.signalCommand, input, options));
  }

  /** Resolves when it has ended. `timeoutMs` is for the whole wait, by default 15 minutes; then it throws `timeout`. */
  async wait(options: CallOptions = {}): Promise<CommandInfo> {
    const { signal, timeoutMs = waitTimeoutMs } = options;
    const deadline = performance.now() + timeoutMs;
    const breaks = new Breaks(signal);
    for (;;) {
      const leftS = Math.max(0, deadline - performance.now()) / 1000;
      const waitS = Math.min(longestWaitS, leftS);
      const input = { ...paramsOf(this.info), query: { wait: waitS } };
      const patience = { timeoutMs: waitS * 1000 + patienceMs, ...(signal === undefined ? {} : { signal }) };
      try {
        const info = toCommandInfo(await this.#transport.call(operations.getCommand, input, patience));
        if (!info.isRunning) return info;
        breaks.reset();
      } catch (error) {
        await breaks.take(error);
      }
      signal?.throwIfAborted();
      if (performance.now() >= deadline) {
        throw new InstaVmError(
          "timeout",
          `Command ${String(this.commandId)} still runs after ${String(timeoutMs)} ms; it runs on.`,
        );
      }
    }
  }

  /**
   * Its output as it comes, `exit` at last. A reader that is slow misses output, and is told so: `dropped`. A connection that
   * breaks is made again where it broke. `timeoutMs` is by default a day.
   */
  output(options: ReadOutputOptions = {}): AsyncGenerator<CommandOutput, void, undefined> {
    const { offset = this.#offset, fromEnd = false, follow = true, timeoutMs = dayMs } = options;
    const params = paramsOf(this.info);
    const deadline = performance.now() + timeoutMs;
    const open = (start: OutputStart) => {
      const query = {
        offset: start.offset,
        ...(start.fromEnd ? { from_end: "true" as const } : {}),
        ...(follow ? {} : { follow: "false" as const }),
      };
      const leftMs = Math.max(1, Math.ceil(deadline - performance.now()));
      return this.#transport.events(operations.readOutput, { ...params, query }, { ...options, timeoutMs: leftMs });
    };
    return commandOutput(open, { offset, fromEnd }, options.signal);
  }

  [Symbol.asyncIterator](): AsyncGenerator<CommandOutput, void, undefined> {
    return this.output();
  }

  /** Ends it, with all that it has started, and forgets its output. One that is forgotten already is no error. */
  async delete(options: CallOptions = {}): Promise<void> {
    try {
      await this.#transport.call(operations.deleteCommand, paramsOf(this.info), options);
    } catch (error) {
      if (!isInstaVmError(error, "command_not_found")) throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.delete();
  }
}

function paramsOf({ vmId, commandId }: CommandInfo) {
  return { params: { vm_id: vmId, command_id: commandId } };
}
