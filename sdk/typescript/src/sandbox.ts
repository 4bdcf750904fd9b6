import type { ExecuteResult } from "./answers.ts";
import { InstaVm } from "./client.ts";
import type { CreateSessionOptions, InstaVmOptions } from "./client.ts";
import type { Commands } from "./commands.ts";
import type { Contexts } from "./contexts.ts";
import { isInstaVmError } from "./errors.ts";
import type { ExecuteEvent } from "./execute-events.ts";
import type { ExecuteOptions } from "./execute-options.ts";
import type { Execution } from "./execution-answers.ts";
import type { Files } from "./files.ts";
import type { CallOptions } from "./transport.ts";
import type { ForkOptions } from "./vms.ts";

export interface CreateSandboxOptions extends CreateSessionOptions, InstaVmOptions {}

/**
 * One microVM with a Python interpreter that keeps its variables from run to run.
 * `await using sandbox = await Sandbox.create()` ends it, with its files, at the end of the block.
 */
export class Sandbox implements AsyncDisposable {
  readonly sessionId: string;
  readonly files: Files;
  readonly commands: Commands;
  readonly contexts: Contexts;
  /** The client that it was made with. */
  readonly client: InstaVm;

  private constructor(client: InstaVm, sessionId: string) {
    this.sessionId = sessionId;
    this.files = client.files(sessionId);
    this.commands = client.commands(sessionId);
    this.contexts = client.contexts(sessionId);
    this.client = client;
  }

  /** Starts a microVM; resolves when it is ready. */
  static async create(options: CreateSandboxOptions = {}): Promise<Sandbox> {
    const client = new InstaVm(options);
    const { sessionId } = await client.createSession(options);
    return new Sandbox(client, sessionId);
  }

  /** A sandbox that lives already. Throws `session_not_found` for one that does not exist or has ended. */
  static async connect(sessionId: string, options: InstaVmOptions & CallOptions = {}): Promise<Sandbox> {
    const client = new InstaVm(options);
    const session = await client.getSession(sessionId, options);
    return new Sandbox(client, session.sessionId);
  }

  /** Runs code; resolves with what it printed and how it ended, whatever its exit code. */
  async run(code: string, options: ExecuteOptions = {}): Promise<ExecuteResult> {
    return await this.client.execute(this.sessionId, code, options);
  }

  /** Runs code and yields what comes of it as it comes, the last one being `exit`; see `InstaVm.stream`. */
  stream(code: string, options: ExecuteOptions = {}): AsyncGenerator<ExecuteEvent, void, undefined> {
    return this.client.stream(this.sessionId, code, options);
  }

  /** The same as `run`. */
  async execute(code: string, options: ExecuteOptions = {}): Promise<ExecuteResult> {
    return await this.run(code, options);
  }

  /** Starts code without waiting for its end, which `client.executions.wait` does. */
  async runInBackground(code: string, options: ExecuteOptions = {}): Promise<Execution> {
    return await this.client.executions.start(this.sessionId, code, options);
  }

  /**
   * Copies the sandbox, memory, processes and files, while it goes on: 1..100 sandboxes, or none at all. Each is closed by
   * itself. Throws `not_forkable`, with the reason, where sandboxes cannot be copied so.
   */
  async fork(count = 1, options: ForkOptions = {}): Promise<readonly Sandbox[]> {
    const vms = await this.client.fork(this.sessionId, { ...options, count });
    return vms.map(({ sessionId }) => new Sandbox(this.client, sessionId));
  }

  /** Ends the sandbox with its files. One that has ended already is no error. */
  async close(options: CallOptions = {}): Promise<void> {
    try {
      await this.client.kill(this.sessionId, options);
    } catch (error) {
      if (!isInstaVmError(error, "session_not_found")) throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
