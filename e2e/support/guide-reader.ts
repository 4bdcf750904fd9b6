import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { InstaVm } from "instavm";
import { publishedPython } from "./published-client.ts";
import type { RealServer } from "./real-server.ts";
import { repository } from "./shell-user.ts";
import type { ShellEnd } from "./shell-user.ts";
import type { SnippetKind } from "./snippets.ts";

const snippetWithinMs = 150_000;

/**
 * Somebody who follows one page, with an admin's key of their own: types its snippets one after the other in a directory
 * of its own, which is also the home directory. What a shell snippet exports is there for those behind it. The server's address and state directory, which a
 * page names as they are by default, are those of the test's server.
 */
export class GuideReader implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "instavm-guide-"));
  readonly apiKey: string;
  readonly #server: RealServer;
  #count = 0;

  private constructor(server: RealServer, apiKey: string) {
    this.#server = server;
    this.apiKey = apiKey;
    symlinkSync(join(repository, "bin"), join(this.directory, "bin"));
    mkdirSync(join(this.directory, "node_modules"));
    symlinkSync(join(repository, "sdk/typescript"), join(this.directory, "node_modules/instavm"));
    writeFileSync(join(this.directory, "package.json"), '{ "type": "module" }');
    writeFileSync(this.#exports, "");
  }

  static async open(server: RealServer): Promise<GuideReader> {
    const { key } = await server.client.apiKeys.create({ description: "a reader", role: "admin" });
    return new GuideReader(server, key);
  }

  /** Runs one snippet to its end. */
  async follows({ kind, code }: { readonly kind: SnippetKind; readonly code: string }): Promise<ShellEnd> {
    this.#count += 1;
    const here = code
      .replaceAll("http://127.0.0.1:8222", this.#server.baseUrl)
      .replaceAll("/var/lib/instavm", this.#server.stateDirectory);
    const path = join(this.directory, `snippet-${String(this.#count)}.${kind === "published" ? "python" : kind}`);
    writeFileSync(path, here);
    return await this.#types(await lineFor(kind), path);
  }

  /** Ends what the page has left running. */
  async [Symbol.asyncDispose](): Promise<void> {
    rmSync(this.directory, { recursive: true, force: true });
    const client = new InstaVm({ baseUrl: this.#server.baseUrl, apiKey: this.apiKey });
    for (const { sessionId } of await client.listSessions({ limit: 1000 })) await client.kill(sessionId);
  }

  get #exports(): string {
    return join(this.directory, ".exports");
  }

  async #types(line: string, path: string): Promise<ShellEnd> {
    const env = {
      PATH: `${dirname(process.execPath)}:${join(repository, "bin")}:${process.env["PATH"] ?? ""}`,
      HOME: this.directory,
      INSTAVM_BASE_URL: this.#server.baseUrl,
      INSTAVM_API_KEY: this.apiKey,
      INSTAVM_STATE_DIR: this.#server.stateDirectory,
    };
    const bash = ["--norc", "-euo", "pipefail", "-c", `. "$1"; ${line}`, "bash", this.#exports, path];
    return await new Promise((resolve) => {
      const options = { cwd: this.directory, env, timeout: snippetWithinMs, maxBuffer: 64 * 1024 * 1024 };
      execFile("bash", bash, options, (error, stdout, stderr) => {
        const code = typeof error?.code === "number" ? error.code : 1;
        resolve({ exitCode: error === null ? 0 : code, stdout, stderr });
      });
    });
  }
}

/** What runs the snippet at `$2`, with `$1` as the file for what is exported. */
async function lineFor(kind: SnippetKind): Promise<string> {
  switch (kind) {
    case "sh":
      return `. "$2"; export -p > "$1"`;
    case "ts":
      return `exec '${process.execPath}' "$2"`;
    case "python":
      return `PYTHONPATH='${join(repository, "sdk/python/src")}' exec '${join(repository, ".build/python/bin/python")}' -B "$2"`;
    case "published":
      return `exec '${await publishedPython()}' -B "$2"`;
  }
}
