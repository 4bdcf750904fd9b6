import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A directory that is removed when it is disposed of. */
export class Scratch implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), "instavm-e2e-"));

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** A filesystem in memory of so many MiB, mounted on a directory until it is disposed of. */
export class SmallDisk implements Disposable {
  readonly #directory: string;
  #isMounted = true;

  constructor(directory: string, sizeMib: number) {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${String(sizeMib)}m,mode=0700`, "instavm-e2e", directory]);
    this.#directory = directory;
  }

  [Symbol.dispose](): void {
    if (this.#isMounted) execFileSync("umount", ["--lazy", this.#directory]);
    this.#isMounted = false;
  }
}
