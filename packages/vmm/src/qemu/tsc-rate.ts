import { dirname, join } from "node:path";
import { InstaVmError } from "@instavm/contract";
import type { Waiting } from "@instavm/core";
import { CommandNotStarted, failureOf, runCommand } from "@instavm/process";
import { z } from "zod";
import { launcherBinaryPath } from "../launcher/binary-path.ts";

/** The command that builds the program, for a remedy. */
const buildCommand = "cargo build --release";

const khzSchema = z
  .string()
  .trim()
  .regex(/^\d{6,8}$/)
  .transform(Number);

/** Where the program that measures is: beside the launcher. */
export function tscProgramPath(): string {
  return join(dirname(launcherBinaryPath()), "instavm-tsc-khz");
}

/**
 * The rate of the host's time stamp counter, in kHz, as the program `instavm-tsc-khz` measures it (0.1 s).
 * Throws `host_setup` when that does not run.
 */
export async function measureTscKhz(programPath: string, waiting: Waiting = {}): Promise<number> {
  const said = await run(programPath, waiting);
  const parsed = khzSchema.safeParse(said);
  if (parsed.success) return parsed.data;
  throw new InstaVmError(
    "host_setup",
    `${programPath} said ${JSON.stringify(said.slice(0, 80))}; expected a number of kHz.`,
    {
      next: `Run: ${buildCommand}`,
    },
  );
}

async function run(programPath: string, waiting: Waiting): Promise<string> {
  try {
    const result = await runCommand([programPath], {
      timeoutMs: waiting.timeoutMs ?? 10_000,
      signal: waiting.signal,
      outputLimitBytes: 4096,
    });
    const failure = failureOf(programPath, result);
    if (failure !== undefined) throw new InstaVmError("host_setup", `Clock: ${failure}.`);
    return result.stdout;
  } catch (error) {
    if (!(error instanceof CommandNotStarted)) throw error;
    throw new InstaVmError("host_setup", `Clock: ${programPath} does not start (${error.reason}).`, {
      next: `Run: ${buildCommand}`,
      cause: error,
    });
  }
}
