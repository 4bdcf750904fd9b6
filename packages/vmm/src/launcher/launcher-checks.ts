import { InstaVmError } from "@instavm/contract";
import type { Check, Waiting } from "@instavm/core";
import { access, constants } from "node:fs/promises";
import { launcherSocketPath } from "./ensure-launcher.ts";
import { openConnection } from "./launcher-connection.ts";

/** What the doctor looks at. */
export interface LauncherCheckOptions {
  readonly stateDir: string;
  /** See `launcherBinaryPath`. */
  readonly binaryPath: string;
}

/** The launcher's program, and the launcher that runs, if one does. Starts nothing. */
export async function launcherChecks(options: LauncherCheckOptions, waiting?: Waiting): Promise<readonly Check[]> {
  return Promise.all([checkProgram(options.binaryPath), checkRunning(options.stateDir, waiting)]);
}

async function checkProgram(binaryPath: string): Promise<Check> {
  const row = { subject: "launcher program", expected: "an executable file" } as const;
  try {
    await access(binaryPath, constants.X_OK);
    return { ...row, outcome: "ok", seen: binaryPath, remedy: "" };
  } catch {
    return { ...row, outcome: "failed", seen: `none at ${binaryPath}`, remedy: "script/setup" };
  }
}

async function checkRunning(stateDir: string, waiting?: Waiting): Promise<Check> {
  const row = { subject: "launcher", expected: "none yet, or one that answers" } as const;
  const socketPath = launcherSocketPath(stateDir);
  try {
    const connection = await openConnection({ socketPath, onEnded: () => {} }, waiting);
    connection.close();
    const { pid, launcherVersion } = connection.hello;
    return { ...row, outcome: "ok", seen: `version ${launcherVersion}, pid ${pid}`, remedy: "" };
  } catch (error) {
    if (!(error instanceof InstaVmError)) throw error;
    if (error.code === "launcher_unreachable" && !(await exists(socketPath))) {
      return { ...row, outcome: "ok", seen: "none; a server starts it", remedy: "" };
    }
    return { ...row, outcome: "warning", seen: error.message, remedy: `cat ${stateDir}/launcher.log` };
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}
