import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { InstaVm } from "instavm";
import { SmallDisk } from "./scratch.ts";
import { processesOf, tracesOf } from "./traces.ts";

const repository = dirname(dirname(import.meta.dirname));
const serverProgram = join(repository, "apps/server/src/main.ts");
const readyWithinMs = 180_000;
const endWithinMs = 60_000;

export interface RealServerOptions {
  /** VMs that are kept ready; by default none, which leaves the cores to the test. */
  readonly poolSize?: number;
  /** Memory for VMs that stand still to be forked, in MiB; by default none, so that the test counts its own VMs alone. */
  readonly zygoteMemoryMib?: number;
  /** By default a free one. */
  readonly port?: number;
  /** Further flags of the server. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Puts the state directory on a filesystem of its own with so much room, in MiB. */
  readonly stateDiskMib?: number;
}

/**
 * A real server on a free port with a state directory of its own; images and templates come from the machine's cache.
 * Disposing of it ends all that it started and throws when something of it is left.
 */
export class RealServer implements AsyncDisposable {
  readonly stateDirectory = mkdtempSync(join(tmpdir(), "instavm-e2e-"));
  readonly #options: RealServerOptions;
  readonly #listen: string;
  readonly #stateDisk: SmallDisk | undefined;
  #process: ChildProcess | undefined;

  private constructor(options: RealServerOptions, port: number) {
    this.#options = options;
    this.#listen = `127.0.0.1:${String(port)}`;
    if (options.stateDiskMib !== undefined) this.#stateDisk = new SmallDisk(this.stateDirectory, options.stateDiskMib);
  }

  /** Resolves when the server answers. */
  static async start(options: RealServerOptions = {}): Promise<RealServer> {
    const server = new RealServer(options, options.port ?? (await freePort()));
    try {
      await server.startAgain();
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  get baseUrl(): string {
    return `http://${this.#listen}`;
  }

  get apiKey(): string {
    return readFileSync(join(this.stateDirectory, "admin-key"), "utf8").trim();
  }

  get client(): InstaVm {
    return new InstaVm({ baseUrl: this.baseUrl, apiKey: this.apiKey });
  }

  /** What the server has written to stdout and stderr since the first start. */
  get log(): string {
    return readFileSync(this.#logPath, "utf8");
  }

  /** A figure of /metrics. */
  async metric(name: string): Promise<number> {
    const answer = await fetch(`${this.baseUrl}/metrics`, { headers: { "x-api-key": this.apiKey } });
    const line = (await answer.text()).split("\n").find((text) => text.startsWith(`${name} `));
    return Number(line?.split(" ")[1]);
  }

  /** Process ids of the VMs that run. */
  vmPids(): readonly number[] {
    return processesOf(this.stateDirectory)
      .filter(({ commandLine }) => /^\S*qemu-system/.test(commandLine))
      .map(({ pid }) => pid);
  }

  /** Starts the server on the same state and port, after `stop` or `crash`. Resolves when it answers. */
  async startAgain(): Promise<void> {
    const log = openSync(this.#logPath, "a");
    const { poolSize = 0, zygoteMemoryMib = 0, flags = [], env = {} } = this.#options;
    const args = [
      "--listen",
      this.#listen,
      "--state-dir",
      this.stateDirectory,
      "--pool-size",
      String(poolSize),
      "--zygote-memory-mib",
      String(zygoteMemoryMib),
      ...flags,
    ];
    const child = spawn(process.execPath, [serverProgram, "serve", ...args], {
      stdio: ["ignore", log, log],
      env: { ...process.env, ...env },
    });
    closeSync(log);
    this.#process = child;
    await this.#untilReady(child);
  }

  /** SIGTERM, and waits until the process is gone. Its sandboxes live on. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** SIGKILL, and waits until the process is gone. */
  async crash(): Promise<void> {
    await this.#end("SIGKILL");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const wasRunning = this.#isRunning();
    try {
      if (wasRunning) await this.#endSessions();
      await this.stop();
      await this.#endLauncher();
      this.#stateDisk?.[Symbol.dispose]();
      // A test that leaves its server dead has not given it a chance to tidy up.
      if (wasRunning) await this.#expectNoTraces();
    } finally {
      for (const { pid } of processesOf(this.stateDirectory)) killHard(pid);
      this.#stateDisk?.[Symbol.dispose]();
      this.#keepLog();
      rmSync(this.stateDirectory, { recursive: true, force: true });
    }
  }

  /** For somebody who looks for why a test fails: the log outlives the server in the directory that is named so. */
  #keepLog(): void {
    const directory = process.env["INSTAVM_TEST_LOGS"];
    if (directory === undefined || !existsSync(this.#logPath)) return;
    mkdirSync(directory, { recursive: true });
    copyFileSync(this.#logPath, join(directory, `${basename(this.stateDirectory)}.log`));
  }

  get #logPath(): string {
    return join(this.stateDirectory, "server.log");
  }

  #isRunning(): boolean {
    return this.#process !== undefined && this.#process.exitCode === null && this.#process.signalCode === null;
  }

  async #untilReady(child: ChildProcess): Promise<void> {
    const deadline = performance.now() + readyWithinMs;
    while (performance.now() < deadline) {
      if (child.exitCode !== null || child.signalCode !== null) throw new Error(`the server ended:\n${this.log}`);
      const answered = await this.#answers();
      if (answered) return;
      await sleep(50);
    }
    throw new Error(`the server did not answer within ${String(readyWithinMs)} ms:\n${this.log}`);
  }

  /** With this server's own key: what answers may be another one. */
  async #answers(): Promise<boolean> {
    if (!existsSync(join(this.stateDirectory, "admin-key"))) return false;
    return await this.client.listSessions({ timeoutMs: 10_000 }).then(
      () => true,
      () => false,
    );
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    if (child === undefined || !this.#isRunning()) return;
    const exited = once(child, "exit", { signal: AbortSignal.timeout(endWithinMs) });
    child.kill(signal);
    await exited;
  }

  async #endSessions(): Promise<void> {
    const client = this.client;
    const sessions = await client.listSessions({ limit: 1000 });
    await Promise.all(sessions.map(async ({ sessionId }) => await client.kill(sessionId)));
  }

  /** It would end by itself after a minute of idleness. */
  async #endLauncher(): Promise<void> {
    const launcher = processesOf(this.stateDirectory).find(({ commandLine }) =>
      /^\S*instavm-launcher/.test(commandLine),
    );
    if (launcher !== undefined) process.kill(launcher.pid, "SIGTERM");
    await sleep(50);
  }

  async #expectNoTraces(): Promise<void> {
    const deadline = performance.now() + 5000;
    while (tracesOf(this.stateDirectory).length > 0 && performance.now() < deadline) await sleep(50);
    const left = tracesOf(this.stateDirectory);
    if (left.length > 0) throw new Error(`the server left behind:\n${left.join("\n")}`);
  }
}

/** A TCP port of 127.0.0.1 that is free now. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  probe.listen(0, "127.0.0.1");
  await once(probe, "listening");
  const address = probe.address();
  probe.close();
  await once(probe, "close");
  if (address === null || typeof address === "string") throw new Error("the probe has no port");
  return address.port;
}

function killHard(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}
