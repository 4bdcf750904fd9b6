import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** Ends the launcher of a state directory and waits until it is gone; without effect when there is none. */
export async function endLauncher(stateDir: string): Promise<void> {
  const pid = Number.parseInt(await readFile(join(stateDir, "launcher.lock"), "utf8").catch(() => ""), 10);
  if (!Number.isInteger(pid) || pid <= 1) return;
  try {
    process.kill(pid, "SIGTERM");
    for (let waitedMs = 0; waitedMs < 15_000; waitedMs += 50) {
      process.kill(pid, 0);
      await sleep(50);
    }
  } catch {
    // ESRCH: it is gone, which is what was wanted.
  }
}
