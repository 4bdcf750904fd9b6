import { operations } from "@instavm/contract";
import type { ExecuteResult } from "./answers.ts";
import { toCommandInfo } from "./command-answers.ts";
import type { CommandInfo } from "./command-answers.ts";
import { Command } from "./command-handle.ts";
import type { ExecuteOptions } from "./execute-options.ts";
import { runCode } from "./run-code.ts";
import type { CallOptions, Transport } from "./transport.ts";
import { vmIdOf } from "./vm-of.ts";

export interface StartCommandOptions extends CallOptions {
  /** Absolute; by default the workdir. */
  readonly cwd?: string;
  /** On top of the session's. */
  readonly env?: Readonly<Record<string, string>>;
  /** Whom it runs as, by default root. */
  readonly user?: string;
  /** Free text to find it by. */
  readonly tag?: string;
  /** Its stdin can be written to; else it reads the end at once. */
  readonly stdin?: boolean;
  /** Seconds; then it is killed with all that it has started. Without it there is no limit. */
  readonly timeoutS?: number;
}

/** Programs in one session's VM. Those in the background end with the VM. */
export class Commands {
  readonly #transport: Transport;
  readonly #sessionId: string;

  constructor(transport: Transport, sessionId: string) {
    this.#transport = transport;
    this.#sessionId = sessionId;
  }

  /** Runs a line of Bash in a fresh shell; resolves with what it printed and its exit code, whatever that is. */
  async run(line: string, options: Omit<ExecuteOptions, "language" | "contextId"> = {}): Promise<ExecuteResult> {
    return await runCode(this.#transport, { sessionId: this.#sessionId, code: line }, { ...options, language: "bash" });
  }

  /** Starts a line of Bash, or a program with its arguments, in the background; resolves when it runs. */
  async start(command: string | readonly string[], options: StartCommandOptions = {}): Promise<Command> {
    const { cwd, env, user, tag, stdin, timeoutS: timeout } = options;
    const program = typeof command === "string" ? { command } : { argv: [...command] };
    const body = { ...program, cwd, env, user, tag, stdin, timeout };
    const input = { params: { vm_id: await this.#vmId(options) }, body };
    const info = toCommandInfo(await this.#transport.call(operations.startCommand, input, options));
    return new Command(this.#transport, info, 0);
  }

  /** A command that was started before, here or elsewhere. A loop over it begins at `offset`. Throws `command_not_found`. */
  async attach(commandId: number, options: CallOptions & { readonly offset?: number } = {}): Promise<Command> {
    return new Command(this.#transport, await this.get(commandId, options), options.offset ?? 0);
  }

  async get(commandId: number, options: CallOptions = {}): Promise<CommandInfo> {
    const input = { params: { vm_id: await this.#vmId(options), command_id: commandId } };
    return toCommandInfo(await this.#transport.call(operations.getCommand, input, options));
  }

  /** Those that run and the last ones that ended, oldest first; with `tag` only those that have exactly this one. */
  async list(options: CallOptions & { readonly tag?: string } = {}): Promise<readonly CommandInfo[]> {
    const input = { params: { vm_id: await this.#vmId(options) }, query: { tag: options.tag } };
    return (await this.#transport.call(operations.listCommands, input, options)).map(toCommandInfo);
  }

  async #vmId(options: CallOptions): Promise<string> {
    return await vmIdOf(this.#transport, { sessionId: this.#sessionId }, options);
  }
}
