import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { repository } from "./shell-user.ts";

const downloadWithinMs = 280_000;
/** The guest's Python is 3.11, whatever the host's is. */
const forTheGuest = [
  "--only-binary=:all:",
  "--python-version=311",
  ...["manylinux2014", "manylinux_2_17", "manylinux_2_27", "manylinux_2_28"].map((name) => `--platform=${name}_x86_64`),
];

/**
 * A directory with a release of a package and all it needs, as the guest's Python imports them; from the package index, once in
 * a checkout.
 */
export function packagesForGuest(requirement: string): string {
  const home = join(repository, ".build", "guest-packages", requirement.replace("==", "-"));
  if (existsSync(home)) return home;
  const draft = `${home}.${String(process.pid)}`;
  const wheels = `${draft}.wheels`;
  for (const directory of [draft, wheels]) mkdirSync(directory, { recursive: true });
  python("-m", "pip", "download", "--quiet", "--disable-pip-version-check", ...forTheGuest, "-d", wheels, requirement);
  for (const wheel of readdirSync(wheels)) python("-m", "zipfile", "-e", join(wheels, wheel), draft);
  rmSync(wheels, { recursive: true });
  // Whole or not at all: another run may look for it at this moment.
  if (existsSync(home)) rmSync(draft, { recursive: true });
  else renameSync(draft, home);
  return home;
}

function python(...args: readonly string[]): void {
  execFileSync("/usr/bin/python3", args, { timeout: downloadWithinMs, stdio: ["ignore", "ignore", "inherit"] });
}
