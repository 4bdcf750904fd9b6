import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, stat } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { once as onceOnly, sleep } from "@instavm/process";

const repository = fileURLToPath(new URL("../../../../", import.meta.url));
const buildTimeoutMs = 600_000;
const startTimeoutMs = 10_000;
const keptLogCharacters = 65_536;

/** A running agent outside a VM. Disposing ends it and removes its directory. */
export interface RealAgent extends AsyncDisposable {
  readonly socketPath: string;
  /** The calls' working directory, empty at first. */
  readonly workdir: string;
  readonly pid: number;
  /** The end of what it wrote to stderr. */
  log(): string;
  /** Ends it with SIGKILL and waits until it is gone. */
  kill(): Promise<void>;
}

/**
 * The guest agent's program: `INSTAVM_AGENT`, else the one that cargo built last; built now when there is none.
 * The first call of a process may take minutes then.
 */
export const agentProgram: () => Promise<string> = onceOnly(async () => {
  const named = process.env["INSTAVM_AGENT"];
  if (named !== undefined && named !== "") return named;
  const target = process.env["CARGO_TARGET_DIR"] ?? join(repository, "target");
  const built = ["release", "debug"].map((profile) => join(target, profile, "instavm-agent"));
  const found = await Promise.all(built.map(async (path) => ({ path, atMs: await builtAtMs(path) })));
  const newest = found.filter(({ atMs }) => atMs > 0).sort((one, other) => other.atMs - one.atMs)[0];
  if (newest !== undefined) return newest.path;
  await promisify(execFile)("cargo", ["build", "--package", "instavm-agent"], {
    cwd: repository,
    timeout: buildTimeoutMs,
    maxBuffer: 64 * 1024 * 1024,
  });
  return join(target, "debug", "instavm-agent");
});

/** Starts an agent and resolves when it listens on a socket of its own. */
export async function startAgent(): Promise<RealAgent> {
  const program = await agentProgram();
  const directory = await mkdtemp(join(tmpdir(), "instavm-agent-"));
  const workdir = join(directory, "work");
  const scratch = join(directory, "tmp");
  const socketPath = join(directory, "agent.sock");
  await mkdir(workdir);
  await mkdir(scratch);
  const child = spawn(program, ["serve", "--socket", socketPath, "--workdir", workdir], {
    stdio: ["ignore", "ignore", "pipe"],
    cwd: workdir,
    // What it keeps there is left when it is killed.
    env: { ...process.env, TMPDIR: scratch },
  });
  const exited = once(child, "exit");
  let log = "";
  child.stderr.on("data", (chunk: Buffer) => {
    log = (log + chunk.toString()).slice(-keptLogCharacters);
  });
  await once(child, "spawn");
  const startedAtMs = performance.now();
  while (!(await isListening(socketPath))) {
    if (child.exitCode !== null || performance.now() - startedAtMs > startTimeoutMs) {
      child.kill("SIGKILL");
      throw new Error(`${program} does not listen on ${socketPath}; it said: ${log}`);
    }
    await sleep(1);
  }
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    await exited;
  };
  return {
    socketPath,
    workdir,
    pid: child.pid ?? 0,
    log: () => log,
    kill: () => end("SIGKILL"),
    [Symbol.asyncDispose]: async () => {
      await end("SIGTERM");
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function isListening(socketPath: string): Promise<boolean> {
  const socket = connect(socketPath);
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function builtAtMs(path: string): Promise<number> {
  try {
    return (await stat(path)).mtimeMs;
  } catch {
    return 0;
  }
}
