import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A QEMU without a guest, for tests of its monitor. */
export interface PausedQemu extends AsyncDisposable {
  readonly directory: string;
  readonly qmpSocketPath: string;
}

/** Starts one. Disposing ends it. */
export async function startPausedQemu(qemuPath: string): Promise<PausedQemu> {
  const directory = await mkdtemp(join(tmpdir(), "instavm-qemu-"));
  const qmpSocketPath = join(directory, "qmp.sock");
  const machine = ["-M", "microvm", "-accel", "tcg", "-m", "16", "-nodefaults", "-display", "none", "-S"];
  const child = spawn(qemuPath, [...machine, "-qmp", `unix:${qmpSocketPath},server=on,wait=off`], { stdio: "ignore" });
  const exited = once(child, "exit");
  return {
    directory,
    qmpSocketPath,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
      await rm(directory, { recursive: true, force: true });
    },
  };
}
