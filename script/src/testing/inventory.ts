import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What a test could leave behind on the machine, one readable line each. */
export type Inventory = ReadonlySet<string>;

/** Programs of ours: VMs, launchers, servers, builders. */
const ownPrograms = /qemu-system-|instavm-launcher|instavm-agent|apps\/server\/src\/main\.ts|mmdebstrap|mkfs\.erofs/;

/** Takes stock of processes, mounts, network namespaces, Unix sockets and temporary files. */
export function inventory(): Inventory {
  return new Set([...processes(), ...mounts(), ...networkNamespaces(), ...unixSockets(), ...temporaryFiles()]);
}

/** What stands in `after` and not in `before`. */
export function whatIsNew(before: Inventory, after: Inventory): readonly string[] {
  return [...after].filter((item) => !before.has(item));
}

function processes(): string[] {
  return processIds().flatMap((pid) => {
    const commandLine = readOrEmpty(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim();
    return ownPrograms.test(commandLine) ? [`process ${pid}: ${commandLine.slice(0, 200)}`] : [];
  });
}

function mounts(): string[] {
  return readOrEmpty("/proc/self/mountinfo")
    .split("\n")
    .flatMap((line) => {
      const mountPoint = line.split(" ")[4];
      return mountPoint === undefined ? [] : [`mount ${mountPoint}`];
    });
}

/** Namespaces that a process is in; those kept by name show up as mounts. */
function networkNamespaces(): string[] {
  const links = processIds().flatMap((pid) => {
    try {
      return [`network namespace ${readlinkSync(`/proc/${pid}/ns/net`)}`];
    } catch {
      return []; // It ended in this moment, or is a kernel thread of another owner.
    }
  });
  return [...new Set(links)];
}

function unixSockets(): string[] {
  return readOrEmpty("/proc/net/unix")
    .split("\n")
    .flatMap((line) => {
      const path = line.split(/\s+/)[7];
      return path !== undefined && path.includes("instavm") ? [`socket ${path}`] : [];
    });
}

function temporaryFiles(): string[] {
  const directories = [tmpdir(), "/dev/shm"];
  return directories.flatMap((directory) =>
    readdirSync(directory)
      .filter((name) => name.startsWith("instavm"))
      .map((name) => `temporary file ${join(directory, name)}`),
  );
}

function processIds(): string[] {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name));
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // The process ended in this moment.
  }
}
