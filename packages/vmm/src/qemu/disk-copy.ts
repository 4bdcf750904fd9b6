import { InstaVmError } from "@instavm/contract";
import type { Waiting } from "@instavm/core";
import { failureOf, runCommand } from "@instavm/process";

/** From one absolute path to another. */
export interface DiskCopy {
  readonly from: string;
  readonly to: string;
}

const copyTimeoutMs = 120_000;

/**
 * Copies a disk over a file: a reflink where the filesystem can, else only what is not a hole. A program of its own
 * does it, since Node has no way to ask for holes. Throws `disk_full` or `engine_failed`.
 */
export async function copyDisk({ from, to }: DiskCopy, waiting: Waiting = {}): Promise<void> {
  const result = await runCommand(["cp", "--reflink=auto", "--sparse=auto", "--no-target-directory", "--", from, to], {
    timeoutMs: waiting.timeoutMs ?? copyTimeoutMs,
    signal: waiting.signal,
    env: { LC_ALL: "C", PATH: process.env["PATH"] ?? "/usr/bin:/bin" },
  });
  const failure = failureOf("cp", result);
  if (failure === undefined) return;
  const code = failure.includes("No space left on device") ? "disk_full" : "engine_failed";
  throw new InstaVmError(code, `Copying the disk ${from} to ${to}: ${failure}.`);
}
