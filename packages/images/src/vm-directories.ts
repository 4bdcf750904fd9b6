import { chmod, mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { InstaVmError, vmIdSchema } from "@instavm/contract";
import type { VmId } from "@instavm/contract";
import type { VmDirectories } from "@instavm/core";
import { removeTree } from "./drafts.ts";

/** Linux's limit for the path of a Unix socket, its end included. */
const socketPathBytes = 108;
/** The longest name that anything gives a socket in a VM's directory: `/` and 20 characters, and NUL. */
const socketNameBytes = 22;

/** Where a host keeps the directories of its VMs. */
export interface VmDirectoryOptions {
  /** Absolute. The directories are `<stateDirectory>/vms/<vm id>`, mode 0700. */
  readonly stateDirectory: string;
}

/**
 * Opens `<stateDirectory>/vms`; making a VM's directory there throws `disk_full`. Throws `host_setup` when that path is so long that the sockets in it could not be bound.
 */
export async function openVmDirectories(options: VmDirectoryOptions): Promise<VmDirectories> {
  const parent = join(options.stateDirectory, "vms");
  requireShortPath(options.stateDirectory, parent);
  await mkdir(parent, { recursive: true, mode: 0o700 });
  const path = (vmId: VmId): string => join(parent, vmId);
  return {
    path,
    create: async (vmId) => {
      try {
        await mkdir(path(vmId), { mode: 0o700 });
      } catch (error) {
        throw isFullDisk(error) ? fullDiskError(path(vmId), error) : error;
      }
      // Whatever the umask.
      await chmod(path(vmId), 0o700);
      return path(vmId);
    },
    list: async () => vmIdsAmong(await readdir(parent)),
    remove: (vmId) => removeTree(path(vmId)),
  };
}

function isFullDisk(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT");
}

function fullDiskError(directory: string, cause: unknown): InstaVmError {
  const message = `The filesystem of ${directory} has no room for another directory; expected some for a VM.`;
  return new InstaVmError("disk_full", message, { cause });
}

function vmIdsAmong(names: readonly string[]): VmId[] {
  return names.flatMap((name) => {
    const parsed = vmIdSchema.safeParse(name);
    return parsed.success ? [parsed.data] : [];
  });
}

function requireShortPath(stateDirectory: string, parent: string): void {
  const vmIdBytes = 21;
  const seen = Buffer.byteLength(parent) + vmIdBytes + socketNameBytes;
  if (seen <= socketPathBytes) return;
  const longest = Buffer.byteLength(stateDirectory) - (seen - socketPathBytes);
  throw new InstaVmError(
    "host_setup",
    `The state directory ${stateDirectory} is too long for the sockets in it: ${Buffer.byteLength(stateDirectory)} bytes, at most ${longest}.`,
    { next: "Name a shorter one with --state-dir or INSTAVM_STATE_DIR." },
  );
}
