import { readFileSync, readdirSync } from "node:fs";

/** A process that has to do with a directory: its command line names something in it. */
export interface OwnedProcess {
  readonly pid: number;
  readonly commandLine: string;
}

/** Every process whose command line names this directory: the server, its launcher, its VMs. */
export function processesOf(directory: string): readonly OwnedProcess[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
    const commandLine = readOrEmpty(`/proc/${name}/cmdline`).replaceAll("\0", " ").trim();
    return commandLine.includes(directory) ? [{ pid: Number(name), commandLine }] : [];
  });
}

/** All that runs in, is mounted under or listens in a directory, one readable line each. */
export function tracesOf(directory: string): readonly string[] {
  const processes = processesOf(directory).map(
    ({ pid, commandLine }) => `process ${String(pid)}: ${commandLine.slice(0, 200)}`,
  );
  const mounts = linesWith("/proc/self/mountinfo", directory).map((line) => `mount: ${line}`);
  const sockets = linesWith("/proc/net/unix", directory).map((line) => `socket: ${line}`);
  return [...processes, ...mounts, ...sockets];
}

function linesWith(path: string, text: string): readonly string[] {
  return readOrEmpty(path)
    .split("\n")
    .filter((line) => line.includes(text));
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // The process ended in this moment.
  }
}
