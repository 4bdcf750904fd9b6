import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RealServer } from "./real-server.ts";
import { repository } from "./shell-user.ts";

/** The release of the published Python client that must work unchanged. */
const release = "instavm==0.26.1";
const home = join(repository, ".build", "published-client", release.replace("==", "-"));
const installWithinMs = 280_000;

/** How a program ended. */
export interface ProgramEnd {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The Python of an environment that has the published client, from the package index, installed once in a checkout. */
export async function publishedPython(): Promise<string> {
  if (!existsSync(home)) await makeEnvironment();
  return join(home, "bin", "python");
}

/** Who writes Python against the published client, with one server and one key. */
export class PublishedClient implements Disposable {
  readonly #directory = mkdtempSync(join(tmpdir(), "instavm-published-"));
  readonly #server: RealServer;

  private constructor(server: RealServer) {
    this.#server = server;
  }

  /** Installs the client from the package index, once in a checkout. */
  static async install(server: RealServer): Promise<PublishedClient> {
    await publishedPython();
    return new PublishedClient(server);
  }

  /**
   * Runs Python that finds `InstaVM`, `instavm`, `key`, `url` and a folder of its own as working directory, and gives
   * its result to `show`. Throws when it fails or shows nothing.
   */
  async python(code: string): Promise<unknown> {
    const { exitCode, stdout, stderr } = await this.#run(["-c", `${prelude}\n${code}`]);
    const shown = stdout.split("\n").findLast((line) => line.startsWith(mark));
    if (exitCode === 0 && shown !== undefined) return JSON.parse(shown.slice(mark.length));
    throw new Error(`the Python program ended with exit code ${String(exitCode)}:\n${stdout}${stderr}`);
  }

  /** Runs the published command line. */
  async cli(...args: readonly string[]): Promise<ProgramEnd> {
    return await this.#run(["-m", "instavm", ...args]);
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #run(args: readonly string[]): Promise<ProgramEnd> {
    const env = {
      PATH: process.env["PATH"] ?? "",
      HOME: this.#directory,
      PYTHONUTF8: "1",
      INSTAVM_BASE_URL: this.#server.baseUrl,
      INSTAVM_API_KEY: this.#server.apiKey,
    };
    return await run(join(home, "bin", "python"), args, { cwd: this.#directory, env, timeout: 170_000 });
  }
}

const mark = "shown: ";

const prelude = `
import json, os, sys, time
import instavm
from instavm import InstaVM
url, key = os.environ["INSTAVM_BASE_URL"], os.environ["INSTAVM_API_KEY"]
def show(value):
    print(${JSON.stringify(mark)} + json.dumps(value, default=lambda other: other.decode("latin-1")))
def error_of(call):
    try:
        return ["no error", repr(call())]
    except Exception as error:
        return [type(error).__name__, str(error)]
`;

/** Whole or not at all: another run may look for it at this moment. */
async function makeEnvironment(): Promise<void> {
  const draft = `${home}.${String(process.pid)}`;
  mkdirSync(join(home, ".."), { recursive: true });
  rmSync(draft, { recursive: true, force: true });
  const pip = ["-m", "pip", "--python", join(draft, "bin", "python"), "install", "--disable-pip-version-check"];
  // The distribution's own Python: its pip can serve another environment, which then needs none.
  for (const args of [
    ["-m", "venv", "--without-pip", draft],
    [...pip, "--quiet", release],
  ]) {
    const { exitCode, stdout, stderr } = await run("/usr/bin/python3", args, { timeout: installWithinMs });
    if (exitCode !== 0) throw new Error(`python3 ${args.join(" ")} failed:\n${stdout}${stderr}`);
  }
  if (existsSync(home)) rmSync(draft, { recursive: true });
  else renameSync(draft, home);
}

interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly timeout: number;
}

async function run(program: string, args: readonly string[], options: RunOptions): Promise<ProgramEnd> {
  return await new Promise((resolve) => {
    execFile(program, args, { ...options, maxBuffer: 256 * 1024 * 1024 }, (error, stdout, stderr) => {
      const code = typeof error?.code === "number" ? error.code : 1;
      resolve({ exitCode: error === null ? 0 : code, stdout, stderr });
    });
  });
}
