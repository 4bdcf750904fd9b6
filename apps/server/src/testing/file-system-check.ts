import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCommand } from "@instavm/process";

/**
 * What e2fsck finds on a copy of a VM's disk, after it has replayed the journal there; empty = nothing is wrong. Nobody
 * may write the disk meanwhile.
 */
export async function checkFileSystem(diskPath: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "instavm-fsck-"));
  try {
    const copy = join(directory, "disk");
    await call(["cp", "--sparse=always", "--reflink=auto", diskPath, copy]);
    await call(["e2fsck", "-y", "-E", "journal_only", copy]);
    const found = await runCommand(["e2fsck", "-f", "-n", copy], { timeoutMs: 120_000 });
    return found.exitCode === 0 ? "" : `exit code ${found.exitCode}: ${found.stdout}${found.stderr}`;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function call(command: readonly [string, ...string[]]): Promise<void> {
  const { exitCode, stdout, stderr } = await runCommand(command, { timeoutMs: 120_000 });
  // Of e2fsck, 1 = it has changed something.
  if (exitCode !== 0 && !(command[0] === "e2fsck" && exitCode === 1)) {
    throw new Error(`${command.join(" ")} exited with ${exitCode}: ${stdout}${stderr}`);
  }
}
