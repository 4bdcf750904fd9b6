import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { InstaVmError } from "@instavm/contract";
import { makeResource, withDeadline } from "@instavm/process";
import { writeDurably } from "./durable-files.ts";

/** How to wait for a lock. */
export interface LockOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Called once when somebody else holds it: the holder's process id where it is known. */
  readonly onWait?: (holder: string) => void;
}

/**
 * Takes the lock of a file, waiting for whoever holds it. The kernel holds it for a small child of this process, so it
 * is free again however this process ends. Throws `conflict` when the wait is over.
 */
export async function takeLock(path: string, options: LockOptions): Promise<AsyncDisposable> {
  await makeParent(path);
  // A process group of its own: a Ctrl-C must not free the lock while the build is still being cleaned up.
  const child = spawn("flock", ["--exclusive", path, "cat"], { stdio: ["pipe", "pipe", "ignore"], detached: true });
  const release = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    const exited = once(child, "exit");
    child.stdin.end();
    process.kill(-child.pid, "SIGTERM");
    await exited;
  };
  child.stdin.on("error", () => {});
  try {
    const failed = Promise.withResolvers<never>();
    child.once("error", (cause) => failed.reject(notStarted(cause)));
    child.once("exit", () => failed.reject(new InstaVmError("host_setup", `flock could not lock ${path}.`)));
    failed.promise.catch(() => {});
    // `cat` gives the byte back as soon as it runs, that is: as soon as the lock is held.
    const held = once(child.stdout, "data");
    child.stdin.write(".");
    const early = setTimeout(() => void sayWhoHoldsIt(path, options), 500);
    early.unref();
    try {
      await withDeadline(() => Promise.race([held, failed.promise]), {
        subject: `the lock ${path}`,
        timeoutMs: options.timeoutMs,
        signal: options.signal,
      });
    } finally {
      clearTimeout(early);
    }
    await writeDurably(path, `${process.pid}\n`);
  } catch (error) {
    await release();
    throw await lockError(path, error, options);
  }
  return makeResource({}, release);
}

async function makeParent(path: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new InstaVmError("host_setup", `The cache directory ${dirname(path)} cannot be made: ${reason}.`, {
      next: "Run script/setup as root, or name another place with --cache-dir.",
      cause,
    });
  }
}

function notStarted(cause: Error): InstaVmError {
  return new InstaVmError("host_setup", `flock could not be started: ${cause.message}.`, {
    next: "Install the package util-linux.",
    cause,
  });
}

async function lockError(path: string, error: unknown, options: LockOptions): Promise<unknown> {
  if (error instanceof InstaVmError || options.signal?.aborted === true) return error;
  return new InstaVmError(
    "conflict",
    `Another build (process ${await holderOf(path)}) has held ${path} for ${Math.round(options.timeoutMs / 1000)} s.`,
    { next: "Wait for it, or end that process, and try again.", cause: error },
  );
}

async function sayWhoHoldsIt(path: string, options: LockOptions): Promise<void> {
  options.onWait?.(await holderOf(path));
}

async function holderOf(path: string): Promise<string> {
  const text = await readFile(path, "utf8").catch(() => "");
  return /^\d+$/.test(text.trim()) ? text.trim() : "unknown";
}
