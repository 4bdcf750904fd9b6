import type { ExecuteResult } from "./answers.ts";
import type { InstaVm } from "./client.ts";
import type { ExecuteOptions } from "./execute-options.ts";

/** Command lines in one session's VM. */
export class Commands {
  readonly #client: InstaVm;
  readonly #sessionId: string;

  constructor(client: InstaVm, sessionId: string) {
    this.#client = client;
    this.#sessionId = sessionId;
  }

  /** Runs a line of Bash in a fresh shell; resolves with what it printed and its exit code, whatever that is. */
  async run(line: string, options: Omit<ExecuteOptions, "language"> = {}): Promise<ExecuteResult> {
    return await this.#client.execute(this.#sessionId, line, { ...options, language: "bash" });
  }
}
