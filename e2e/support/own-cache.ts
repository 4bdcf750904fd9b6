import { copyFileSync, linkSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const machineCache = process.env["INSTAVM_CACHE_DIR"] ?? "/var/cache/instavm";

/** A cache directory with the machine's built images, as links where that can be, and templates of its own: none at first. */
export class OwnCache implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), "instavm-e2e-cache-"));

  constructor() {
    for (const name of ["images", "boot", "disks"]) linkTree(join(machineCache, name), join(this.directory, name));
    mkdirSync(this.templatesDirectory);
  }

  get templatesDirectory(): string {
    return join(this.directory, "templates");
  }

  /** Names of what is in `templates/`, half-made ones included. */
  templates(): readonly string[] {
    return readdirSync(this.templatesDirectory).filter((name) => name !== "lost+found");
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function linkTree(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) linkTree(source, target);
    else if (entry.isFile()) linkOrCopy(source, target);
  }
}

function linkOrCopy(source: string, target: string): void {
  try {
    linkSync(source, target);
  } catch {
    copyFileSync(source, target); // another filesystem
  }
}
