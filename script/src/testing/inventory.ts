import { readFileSync, readdirSync, readlinkSync } from "node:fs";
import { dirname } from "node:path";

/** What could be left behind on the machine, one readable line each. */
export type Inventory = ReadonlySet<string>;

/** Caches that tools keep in the temporary directory on purpose. */
const toolCaches = /^(node-compile-cache|v8-compile-cache.*|vitest|vite|tsgo.*)$/;

/**
 * Takes stock. Processes, sockets and files count when they have to do with `runDirectory`, which is the temporary directory
 * of everything that a test run starts, so that another run beside it does no harm; mounts and network namespaces all count.
 */
export function inventory(runDirectory: string): Inventory {
  return new Set([
    ...processes(runDirectory),
    ...unixSockets(runDirectory),
    ...files(runDirectory),
    ...mounts(runDirectory),
    ...networkNamespaces(),
  ]);
}

/** What stands in `after` and not in `before`. */
export function whatIsNew(before: Inventory, after: Inventory): readonly string[] {
  return [...after].filter((item) => !before.has(item));
}

/** By their arguments, environment (TMPDIR) or working directory. */
function processes(runDirectory: string): string[] {
  return processIds().flatMap((pid) => {
    if (Number(pid) === process.pid) return [];
    const commandLine = readOrEmpty(`/proc/${pid}/cmdline`).replaceAll("\0", " ").trim();
    const traces = [commandLine, readOrEmpty(`/proc/${pid}/environ`), linkOrEmpty(`/proc/${pid}/cwd`)];
    return traces.some((trace) => trace.includes(runDirectory)) ? [`process ${pid}: ${commandLine.slice(0, 200)}`] : [];
  });
}

function unixSockets(runDirectory: string): string[] {
  return readOrEmpty("/proc/net/unix")
    .split("\n")
    .flatMap((line) => {
      const path = line.split(/\s+/)[7];
      return path !== undefined && path.startsWith(runDirectory) ? [`socket ${path}`] : [];
    });
}

function files(runDirectory: string): string[] {
  return readdirSync(runDirectory)
    .filter((name) => !toolCaches.test(name))
    .map((name) => `file ${runDirectory}/${name}`);
}

/** All but those in the temporary directories of others. */
function mounts(runDirectory: string): string[] {
  const othersTemporary = `${dirname(runDirectory)}/`;
  return readOrEmpty("/proc/self/mountinfo")
    .split("\n")
    .flatMap((line) => {
      const mountPoint = line.split(" ")[4];
      const isAnothers = mountPoint?.startsWith(othersTemporary) === true && !mountPoint.startsWith(runDirectory);
      return mountPoint === undefined || isAnothers ? [] : [`mount ${mountPoint}`];
    });
}

/** Namespaces that a process is in; those kept by name show up as mounts. */
function networkNamespaces(): string[] {
  const links = processIds().map((pid) => linkOrEmpty(`/proc/${pid}/ns/net`));
  return [...new Set(links.filter((link) => link !== "").map((link) => `network namespace ${link}`))];
}

function processIds(): string[] {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name));
}

/** Empty for a process that ended in this moment. */
function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function linkOrEmpty(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
