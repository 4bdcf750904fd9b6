import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { StandInServer } from "./stand-in-server.ts";

/** How one call of the CLI ended. */
export interface Call {
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CallOptions {
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** SIGINT after the CLI has said this on stderr. */
  readonly interruptAfter?: string;
}

const repository = dirname(dirname(dirname(dirname(import.meta.dirname))));

/** Somebody with an empty home directory who types `instavm …`, through a link on their PATH and from elsewhere. */
export class TerminalUser implements Disposable {
  readonly home = mkdtempSync(join(tmpdir(), "instavm-cli-test-"));
  readonly #env: Readonly<Record<string, string>>;

  constructor(env: Readonly<Record<string, string>> = {}) {
    this.#env = env;
    symlinkSync(join(repository, "bin/instavm"), join(this.home, "instavm"));
  }

  async types(args: readonly string[], options: CallOptions = {}): Promise<Call> {
    const child = spawn(join(this.home, "instavm"), args, {
      cwd: this.home,
      env: { PATH: process.env["PATH"] ?? "", HOME: this.home, ...this.#env, ...options.env },
      timeout: 25_000,
    });
    const read = { stdout: "", stderr: "" };
    child.stdout.setEncoding("utf8").on("data", (text: string) => (read.stdout += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      read.stderr += text;
      if (options.interruptAfter !== undefined && read.stderr.includes(options.interruptAfter)) child.kill("SIGINT");
    });
    child.stdin.end(options.stdin ?? "");
    return await new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code, signal) => {
        resolve({ exitCode: code ?? undefined, signal: signal ?? undefined, ...read });
      });
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** A user who has the address and a key of a stand-in in the environment. */
export function userOf(server: StandInServer): TerminalUser {
  return new TerminalUser({ INSTAVM_BASE_URL: server.baseUrl, INSTAVM_API_KEY: "key-1" });
}
