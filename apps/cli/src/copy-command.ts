import { createReadStream, createWriteStream, renameSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { InstaVmError, isInstaVmError } from "instavm";
import { connect } from "./connection.ts";
import type { CommandOptions, Connection } from "./connection.ts";
import { isRemote, parsePlace } from "./copy-place.ts";
import type { LocalPlace, RemotePlace } from "./copy-place.ts";
import { UploadProgress } from "./upload-progress.ts";
import { printJson, say } from "./terminal.ts";

const transferTimeoutMs = 24 * 3600 * 1000;

/** What `cp` copies. */
export interface Copy {
  readonly from: string;
  readonly to: string;
}

/** Copies one file into a VM or out of it. Exactly one of the two places is in a VM. */
export async function copyFile(copy: Copy, options: CommandOptions, signal: AbortSignal): Promise<void> {
  const from = parsePlace(copy.from);
  const to = parsePlace(copy.to);
  const connection = connect(options);
  if (isRemote(to) && !isRemote(from)) {
    const written = await upload({ connection, from, to, signal });
    if (options.json === true) await printJson(written);
    else say(`${written.path} has ${String(written.size)} bytes`);
  } else if (isRemote(from) && !isRemote(to)) {
    const written = await download({ connection, from, to, signal });
    // Standard output holds the file.
    if (written.path === "-") return;
    if (options.json === true) await printJson(written);
    else say(`${written.path} has ${String(written.size)} bytes`);
  }
}

interface Transfer<From, To> {
  readonly connection: Connection;
  readonly from: From;
  readonly to: To;
  readonly signal: AbortSignal;
}

interface Copied {
  readonly session_id: string;
  readonly path: string;
  readonly size: number;
}

async function upload({ connection, from, to, signal }: Transfer<LocalPlace, RemotePlace>): Promise<Copied> {
  const sizeBytes = from.path === "-" ? undefined : localSize(from.path);
  const sessionId = await sessionOf(to, connection, signal);
  const target = to.path === "" || to.path.endsWith("/") ? `${to.path}${localName(from.path)}` : to.path;
  using progress = new UploadProgress(sizeBytes);
  const source = from.path === "-" ? process.stdin : createReadStream(from.path);
  const bytes = Readable.toWeb(source).pipeThrough(progress.counter());
  const files = connection.client.files(sessionId);
  const written = await files.upload(target, bytes, { signal, timeoutMs: transferTimeoutMs });
  return { session_id: sessionId, path: written.path, size: written.sizeBytes };
}

/** The file appears whole or not at all. */
async function download({ connection, from, to, signal }: Transfer<RemotePlace, LocalPlace>): Promise<Copied> {
  const sessionId = await sessionOf(from, connection, signal);
  let size = 0;
  const counted = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    const options = { signal, timeoutMs: transferTimeoutMs };
    for await (const piece of connection.client.files(sessionId).stream(from.path, options)) {
      size += piece.length;
      yield piece;
    }
  };
  if (to.path === "-") {
    await pipeline(counted, process.stdout, { end: false });
    return { session_id: sessionId, path: "-", size };
  }
  const path = isDirectory(to.path) ? join(to.path, basename(from.path)) : to.path;
  const partial = `${path}.${String(process.pid)}.part`;
  try {
    await pipeline(counted, createWriteStream(partial));
    renameSync(partial, path);
  } catch (cause) {
    rmSync(partial, { force: true });
    if (signal.aborted || isInstaVmError(cause)) throw cause;
    throw new InstaVmError("bad_request", `The file ${path} cannot be written: ${reason(cause)}.`, {
      next: "Check the path and its permissions.",
      cause,
    });
  }
  return { session_id: sessionId, path, size };
}

async function sessionOf(place: RemotePlace, connection: Connection, signal: AbortSignal): Promise<string> {
  const { client, sessions, settings } = connection;
  if (place.kind === "session") return place.id;
  if (place.kind === "vm") return (await client.vms.get(place.id, { signal })).sessionId;
  const remembered = sessions.find(settings.baseUrl);
  if (remembered !== undefined) return remembered;
  throw new InstaVmError("session_not_found", "No session is remembered that :PATH could mean.", {
    next: "Name a VM, as in VM:PATH; `instavm ls` shows them.",
  });
}

function localSize(path: string): number {
  try {
    const found = statSync(path);
    if (found.isFile()) return found.size;
  } catch (cause) {
    throw unreadable(path, reason(cause), cause);
  }
  throw unreadable(path, "it is no file");
}

function unreadable(path: string, why: string, cause?: unknown): InstaVmError {
  const next = "Check the path; a directory is copied as an archive, `tar c DIR | instavm cp - VM:dir.tar`.";
  return new InstaVmError("bad_request", `The file ${path} cannot be read: ${why}.`, { next, cause });
}

function localName(path: string): string {
  if (path !== "-") return basename(path);
  throw new InstaVmError("bad_request", "Standard input has no name of its own.", {
    next: "Name the file in the VM, as in VM:PATH.",
  });
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function reason(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
