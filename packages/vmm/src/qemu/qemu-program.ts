import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { delimiter, isAbsolute, join } from "node:path";
import { InstaVmError } from "@instavm/contract";
import type { Waiting } from "@instavm/core";
import { CommandNotStarted, runCommand } from "@instavm/process";

/** The QEMU of this host. */
export interface QemuProgram {
  /** Absolute. */
  readonly path: string;
  /** e.g. `7.2.22` */
  readonly version: string;
  readonly major: number;
  /** The version with the distribution's own, which names the very build: `7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)`. */
  readonly build: string;
}

/** What the adapter was written for and tried with. */
export const oldestQemu = { major: 7, minor: 2 } as const;

/** The command that brings QEMU, for a remedy. */
export const installQemuCommand = "apt-get install --no-install-recommends qemu-system-x86";

const programName = "qemu-system-x86_64";
const versionTimeoutMs = 20_000;

/** Where QEMU is: the named path, or the first on `PATH`. Throws `host_setup`. */
export async function findQemu(named?: string, searchPath = process.env["PATH"] ?? ""): Promise<string> {
  const candidates =
    named === undefined
      ? searchPath
          .split(delimiter)
          .filter(isAbsolute)
          .map((directory) => join(directory, programName))
      : [named];
  for (const candidate of candidates) {
    if (await isExecutable(candidate)) return candidate;
  }
  const seen = named === undefined ? `no ${programName} on PATH` : `${named} is not an executable file`;
  throw new InstaVmError(
    "host_setup",
    `QEMU: ${seen}; expected QEMU ${oldestQemu.major}.${oldestQemu.minor} or newer.`,
    {
      next: `Run: ${installQemuCommand}`,
    },
  );
}

/** Asks a QEMU for its version. Throws `host_setup` when it does not run or is too old. */
export async function readQemu(path: string, waiting: Waiting = {}): Promise<QemuProgram> {
  const said = await askVersion(path, waiting);
  const program = parseVersion(path, said);
  if (program === undefined) {
    throw new InstaVmError(
      "host_setup",
      `QEMU: ${path} --version said ${JSON.stringify(said.slice(0, 120))}; expected "QEMU emulator version …".`,
    );
  }
  if (isTooOld(program)) {
    throw new InstaVmError(
      "host_setup",
      `QEMU: ${path} is version ${program.version}; expected ${oldestQemu.major}.${oldestQemu.minor} or newer.`,
      { next: `Run: ${installQemuCommand}` },
    );
  }
  return program;
}

/** undefined when the text is not that of a QEMU. */
export function parseVersion(path: string, said: string): QemuProgram | undefined {
  const match = /^QEMU emulator version ((\d+)\.\d+(?:\.\d+)*)([^\n]*)/.exec(said);
  const [, version, major, rest] = match ?? [];
  if (version === undefined || major === undefined) return undefined;
  return { path, version, major: Number(major), build: `${version}${rest ?? ""}`.trim() };
}

function isTooOld(program: QemuProgram): boolean {
  const minor = Number(program.version.split(".")[1]);
  return program.major < oldestQemu.major || (program.major === oldestQemu.major && minor < oldestQemu.minor);
}

async function askVersion(path: string, waiting: Waiting): Promise<string> {
  try {
    const result = await runCommand([path, "--version"], {
      timeoutMs: waiting.timeoutMs ?? versionTimeoutMs,
      signal: waiting.signal,
      outputLimitBytes: 4096,
    });
    return result.stdout;
  } catch (error) {
    if (!(error instanceof CommandNotStarted)) throw error;
    throw new InstaVmError("host_setup", `QEMU: ${path} does not start (${error.reason}).`, {
      next: `Run: ${installQemuCommand}`,
      cause: error,
    });
  }
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
