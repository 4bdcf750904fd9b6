import { InstaVmError } from "@instavm/contract";
import { CommandNotStarted, failureOf, runCommand } from "@instavm/process";
import type { CommandOptions } from "@instavm/process";

const packageOf: Readonly<Record<string, string>> = {
  mmdebstrap: "mmdebstrap",
  "mkfs.erofs": "erofs-utils",
  mke2fs: "e2fsprogs",
  flock: "util-linux",
  npm: "npm",
  "dpkg-deb": "dpkg",
};

/** The programs that building an image takes, each with the package that brings it. */
export const buildTools: readonly (readonly [program: string, package_: string])[] = Object.entries(packageOf);

/**
 * Runs a tool that must succeed, with a PATH that has the sbin directories. Throws `host_setup` when it is missing,
 * `disk_full` when it ran out of space, `unavailable` when it could not reach the network, else `internal`, with the
 * end of what it said.
 */
export async function runTool(argv: readonly [string, ...string[]], options: CommandOptions): Promise<void> {
  const program = argv[0];
  try {
    const result = await runCommand(argv, { ...options, env: options.env ?? toolEnvironment() });
    const failure = failureOf(program, result);
    if (failure !== undefined) throw failed(failure, `${result.stdout}\n${result.stderr}`);
  } catch (error) {
    if (!(error instanceof CommandNotStarted)) throw error;
    throw new InstaVmError("host_setup", `${program}, which builds images, could not be started: ${error.reason}.`, {
      next: `apt-get install ${packageOf[program] ?? program}`,
      cause: error,
    });
  }
}

/** This process's environment with the sbin directories on the PATH and messages in English. */
export function toolEnvironment(additions: Readonly<Record<string, string>> = {}): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) if (value !== undefined) environment[name] = value;
  const path = `${environment["PATH"] ?? ""}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin`;
  return { ...environment, PATH: path, LC_ALL: "C.UTF-8", ...additions };
}

function failed(failure: string, output: string): InstaVmError {
  const tail = output.trim().split("\n").slice(-8).join("\n");
  if (/No space left on device/i.test(output)) {
    return new InstaVmError("disk_full", `The disk is full: ${failure}.`, {
      next: "Free space in the cache directory and try again.",
    });
  }
  const network =
    /Could not resolve|Temporary failure resolving|Could not connect|Connection (?:refused|timed out)|Network is unreachable|Failed to fetch|NewConnectionError|ReadTimeoutError|EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ECONNRESET|ETIMEDOUT/i;
  if (network.test(output)) {
    return new InstaVmError("unavailable", `A package source cannot be reached: ${failure}.\n${tail}`, {
      next: "Check this host's network, DNS and proxy (http_proxy, https_proxy), and try again.",
    });
  }
  return new InstaVmError("internal", `${failure}.\n${tail}`, {
    next: "Read what the tool said, correct it and try again.",
  });
}
