import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The top of the checkout that this file is part of. */
const checkoutDir = fileURLToPath(new URL("../../../../", import.meta.url));

/**
 * Where the launcher's program is: `INSTAVM_LAUNCHER_PATH`, else the checkout's release build, else its debug
 * build. When none is there, the release build's path: it is what an error names.
 */
export function launcherBinaryPath(): string {
  const named = process.env["INSTAVM_LAUNCHER_PATH"];
  if (named !== undefined && named !== "") return named;
  const release = join(checkoutDir, "target/release/instavm-launcher");
  const debug = join(checkoutDir, "target/debug/instavm-launcher");
  return !existsSync(release) && existsSync(debug) ? debug : release;
}

/** Where the library is that makes a VM process one that can be forked: beside the launcher's program. */
export function forkLibraryPath(): string {
  return join(dirname(launcherBinaryPath()), "libinstavm_fork.so");
}
