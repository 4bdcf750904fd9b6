import { open, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { InstaVmError } from "@instavm/contract";
import type { StateFiles } from "@instavm/core";
import { makeResource } from "@instavm/process";
import { machineFileNames } from "./command-line.ts";

const bytesPerMib = 1024 * 1024;
/** What `sockaddr_un` holds. */
const socketPathLimitBytes = 107;

/** A file that is removed again unless it is kept. */
export interface DraftFile extends AsyncDisposable {
  keep(): void;
}

/** Makes the file that will be a VM's memory: all holes, for its owner only. Throws `engine_failed` when it exists. */
export async function makeMemoryFile(path: string, memoryMib: number): Promise<DraftFile> {
  let kept = false;
  try {
    await using file = await open(path, "wx", 0o600);
    await file.truncate(memoryMib * bytesPerMib);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new InstaVmError("engine_failed", `The memory file ${path} could not be made: ${why}.`, { cause: error });
  }
  const keep = (): void => {
    kept = true;
  };
  return makeResource({ keep }, async () => {
    if (!kept) await rm(path, { force: true });
  });
}

/**
 * Throws `engine_failed` unless the state's files are there and fit. QEMU itself would make a missing memory file
 * and run a guest whose memory is all zeros.
 */
export async function checkState(source: StateFiles, memoryMib: number): Promise<void> {
  const [memoryBytes, stateBytes] = await Promise.all([sizeOf(source.memoryPath), sizeOf(source.statePath)]);
  const expectedBytes = memoryMib * bytesPerMib;
  if (memoryBytes !== expectedBytes) {
    throw new InstaVmError(
      "engine_failed",
      `The saved memory ${source.memoryPath} has ${memoryBytes} bytes; expected ${expectedBytes} for ${memoryMib} MiB.`,
    );
  }
  if (stateBytes === 0) throw new InstaVmError("engine_failed", `The saved device state ${source.statePath} is empty.`);
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new InstaVmError("engine_failed", `A file that the VM starts from is missing: ${why}.`, { cause: error });
  }
}

/** Throws `engine_failed` unless every file is there. */
export async function checkPresent(paths: readonly string[]): Promise<void> {
  await Promise.all(paths.map(sizeOf));
}

/** Throws `host_setup` when the sockets of a VM in this directory would have too long a path. */
export function checkSocketPaths(directory: string): void {
  const longest = join(directory, machineFileNames.agentSocket);
  const bytes = Buffer.byteLength(longest);
  if (bytes <= socketPathLimitBytes) return;
  throw new InstaVmError(
    "host_setup",
    `The socket path ${longest} has ${bytes} bytes; the system allows ${socketPathLimitBytes}.`,
    { next: "Choose a shorter state directory (--state-dir)." },
  );
}
