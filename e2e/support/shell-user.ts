import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { RealServer } from "./real-server.ts";

/** The checkout's root, absolute. */
export const repository = dirname(dirname(import.meta.dirname));

/** How a line of shell ended. */
export interface ShellEnd {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Somebody at a Bash prompt in the checkout, with an empty home directory, whose InstaVM is one test server. */
export class ShellUser implements Disposable {
  readonly home = mkdtempSync(join(tmpdir(), "instavm-user-"));
  readonly #server: RealServer;

  constructor(server: RealServer) {
    this.#server = server;
  }

  async types(line: string): Promise<ShellEnd> {
    const env = {
      PATH: `${dirname(process.execPath)}:${process.env["PATH"] ?? ""}`,
      HOME: this.home,
      INSTAVM_BASE_URL: this.#server.baseUrl,
      INSTAVM_STATE_DIR: this.#server.stateDirectory,
    };
    return await new Promise((resolve) => {
      const options = { cwd: repository, env, timeout: 120_000, maxBuffer: 256 * 1024 * 1024 };
      execFile("bash", ["-c", line], options, (error, stdout, stderr) => {
        const code = typeof error?.code === "number" ? error.code : 1;
        resolve({ exitCode: error === null ? 0 : code, stdout, stderr });
      });
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.home, { recursive: true, force: true });
  }
}
