import { access, constants } from "node:fs/promises";
import { createServer } from "node:net";
import { dirname } from "node:path";
import type { Check } from "@instavm/core";
import type { Settings } from "../settings/settings.ts";
import { freeBytes, leastFreeBytes } from "../state/state-directory.ts";

/** What the server itself needs of the machine, whatever runs the VMs. */
export async function ownChecks(settings: Settings): Promise<readonly Check[]> {
  return [
    accountCheck(process.getuid?.()),
    nodeCheck(process.versions.node),
    await directoryCheck("state directory", settings.stateDir, "--state-dir"),
    await diskCheck(settings.stateDir),
    await portCheck(settings.listen),
  ];
}

/** VMs are started as root. */
export function accountCheck(uid: number | undefined): Check {
  const subject = "account";
  const expected = "root";
  if (uid === 0) return { subject, outcome: "ok", seen: "root", expected, remedy: "" };
  return { subject, outcome: "failed", seen: `uid ${uid ?? "unknown"}`, expected, remedy: "Run it as root: sudo -i" };
}

function nodeCheck(version: string): Check {
  const subject = "Node.js";
  const expected = "24.12 or newer";
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major > 24 || (major === 24 && minor >= 12))
    return { subject, outcome: "ok", seen: version, expected, remedy: "" };
  return { subject, outcome: "failed", seen: version, expected, remedy: "script/setup" };
}

async function directoryCheck(subject: string, path: string, flag: string): Promise<Check> {
  const expected = "can be written";
  const place = await nearestExisting(path);
  try {
    await access(place, constants.W_OK | constants.X_OK);
    const seen = place === path ? path : `${path} (not made yet)`;
    return { subject, outcome: "ok", seen, expected, remedy: "" };
  } catch {
    const remedy = `Choose another with ${flag}, or run as root.`;
    return { subject, outcome: "failed", seen: `${place} cannot be written`, expected, remedy };
  }
}

async function diskCheck(path: string): Promise<Check> {
  const free = await freeBytes(await nearestExisting(path));
  const base = {
    subject: "disk space for VMs",
    seen: `${mib(free)} MiB free`,
    expected: `${mib(leastFreeBytes * 4)} MiB or more`,
  };
  const remedy = "Free disk space, or choose another --state-dir.";
  if (free < leastFreeBytes) return { ...base, outcome: "failed", remedy };
  return free < leastFreeBytes * 4 ? { ...base, outcome: "warning", remedy } : { ...base, outcome: "ok", remedy: "" };
}

async function portCheck({ host, port }: Settings["listen"]): Promise<Check> {
  const base = { subject: "port", expected: `${host}:${port} is free` };
  const code = await tryListen(host, port);
  if (code === undefined) return { ...base, outcome: "ok", seen: "free", remedy: "" };
  if (code === "EADDRINUSE") {
    const remedy = "Fine when it is InstaVM's server; else choose another with --listen.";
    return { ...base, outcome: "warning", seen: "taken", remedy };
  }
  return { ...base, outcome: "failed", seen: code, remedy: "Choose another address with --listen." };
}

/** The error's code when nothing can listen there. */
export async function tryListen(host: string, port: number): Promise<string | undefined> {
  const server = createServer();
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  server.listen(port, host, () => server.close(() => resolve(undefined)));
  return promise;
}

async function nearestExisting(path: string): Promise<string> {
  try {
    await access(path);
    return path;
  } catch {
    return path === "/" ? path : nearestExisting(dirname(path));
  }
}

function mib(bytes: number): number {
  return Math.floor(bytes / 2 ** 20);
}
