import { join } from "node:path";

const releaseDirectory = join(import.meta.dirname, "../../../../target/release");

/** Our own compiled programs, absolute paths. */
export const programs = {
  forkLibrary: join(releaseDirectory, "libinstavm_fork.so"),
  agent: join(releaseDirectory, "instavm-agent"),
  tscKhz: join(releaseDirectory, "instavm-tsc-khz"),
} as const;
