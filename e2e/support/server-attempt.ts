import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { repository } from "./shell-user.ts";
import { processesOf, tracesOf } from "./traces.ts";

/** How a start of the server that cannot succeed ended. */
export interface FailedStart {
  readonly exitCode: number | null;
  readonly stderr: string;
  /** The lines for people: `error: …` and `next: …`. */
  readonly said: readonly string[];
  readonly tookMs: number;
}

export interface AttemptOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Runs as this user, who can read every file and is root in nothing else. */
  readonly uid?: number;
}

const giveUpMs = 60_000;

/** A place where a server is started that is missing something, with a state directory of its own. */
export class ServerAttempt implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "instavm-e2e-"));

  get stateDirectory(): string {
    return join(this.directory, "state");
  }

  /** Starts the server and waits for its end. */
  async start({ args = [], env = {}, uid }: AttemptOptions = {}): Promise<FailedStart> {
    const program = [process.execPath, join(repository, "apps/server/src/main.ts"), "serve"];
    const defaults = ["--listen", "127.0.0.1:0", "--state-dir", this.stateDirectory, "--pool-size", "0"];
    const [command = "", ...rest] = [...(uid === undefined ? [] : asUser(uid)), ...program, ...defaults, ...args];
    const startedAtMs = performance.now();
    const child = spawn(command, rest, { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, ...env } });
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => void (stderr += text));
    const timer = setTimeout(() => child.kill("SIGKILL"), giveUpMs);
    await once(child, "close");
    clearTimeout(timer);
    const said = stderr.split("\n").filter((line) => /^(error|next): /.test(line));
    return { exitCode: child.exitCode, stderr, said, tookMs: performance.now() - startedAtMs };
  }

  /** Throws when a start has left something that runs, listens or is mounted. */
  async [Symbol.asyncDispose](): Promise<void> {
    // A launcher without VMs and clients may take a moment to be asked to leave.
    for (const { pid, commandLine } of processesOf(this.directory)) {
      if (/^\S*instavm-launcher/.test(commandLine)) process.kill(pid, "SIGTERM");
    }
    const deadline = performance.now() + 5000;
    while (tracesOf(this.directory).length > 0 && performance.now() < deadline) await sleep(50);
    const left = tracesOf(this.directory);
    rmSync(this.directory, { recursive: true, force: true });
    if (left.length > 0) throw new Error(`the start left behind:\n${left.join("\n")}`);
  }
}

function asUser(uid: number): readonly string[] {
  const reading = "+dac_read_search";
  return [
    "setpriv",
    `--reuid=${String(uid)}`,
    `--regid=${String(uid)}`,
    "--clear-groups",
    `--inh-caps=${reading}`,
    `--ambient-caps=${reading}`,
  ];
}
