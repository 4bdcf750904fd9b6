import { createReadStream, createWriteStream, renameSync, rmSync, statSync } from "node:fs";
import { basename, join, posix, resolve } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { InstaVmError, isInstaVmError } from "instavm";
import { downloadDirectory, uploadDirectory } from "instavm/node";
import { connect } from "./connection.ts";
import type { CommandOptions, Connection } from "./connection.ts";
import { isRemote, parsePlace } from "./copy-place.ts";
import type { LocalPlace, RemotePlace } from "./copy-place.ts";
import { printJson, say } from "./terminal.ts";
import { TransferProgress } from "./transfer-progress.ts";

const transferTimeoutMs = 24 * 3600 * 1000;

/** What `cp` copies, as it was typed. */
export interface Copy {
  readonly from: string;
  readonly to: string;
}

export interface CopyOptions extends CommandOptions {
  /** A directory with all that is in it. */
  readonly recursive?: boolean;
}

/** Copies a file or a directory into a VM or out of it. Exactly one of the two places is in a VM. */
export async function copy(places: Copy, options: CopyOptions, signal: AbortSignal): Promise<void> {
  const from = parsePlace(places.from);
  const to = parsePlace(places.to);
  const connection = connect(options);
  const isRecursive = options.recursive === true;
  if (isRemote(to) && !isRemote(from)) {
    const isTree = isRecursive && isDirectory(from.path);
    await show(await (isTree ? uploadTree : upload)({ connection, from, to, signal }), options);
  } else if (isRemote(from) && !isRemote(to)) {
    const transfer = { connection, from, to, signal };
    const isTree = isRecursive && (await isRemoteDirectory(transfer));
    const written = await (isTree ? downloadTree : download)(transfer);
    // Standard output holds the file.
    if (written.path !== "-") await show(written, options);
  }
}

async function show(copied: Copied, options: CommandOptions): Promise<void> {
  if (options.json === true) await printJson(copied);
  else say(`${copied.path} has ${String(copied.size)} bytes${inFiles(copied)}`);
}

function inFiles({ entries, skipped = 0 }: Copied): string {
  if (entries === undefined) return "";
  const left = skipped === 0 ? "" : `; ${String(skipped)} that are no files, or lead elsewhere, were left out`;
  return ` in ${String(entries)} files and directories${left}`;
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
  /** Of a directory. */
  readonly entries?: number;
  readonly skipped?: number;
}

/** What is in the directory goes to that path, or below it under the directory's own name when the path ends in a slash. */
async function uploadTree({ connection, from, to, signal }: Transfer<LocalPlace, RemotePlace>): Promise<Copied> {
  const sessionId = await sessionOf(to, connection, signal);
  const own = basename(resolve(from.path));
  const target = to.path === "" || to.path.endsWith("/") ? `${to.path}${own}` : to.path;
  using progress = new TransferProgress();
  const options = { signal, timeoutMs: transferTimeoutMs, onProgress: (bytes: number) => progress.reach(bytes) };
  const files = connection.client.files(sessionId);
  const { sizeBytes, ...counts } = await uploadDirectory(files, { from: from.path, to: target }, options);
  return { session_id: sessionId, path: target, size: sizeBytes, ...counts };
}

/** The same the other way: below a directory that is there, under its own name. */
async function downloadTree({ connection, from, to, signal }: Transfer<RemotePlace, LocalPlace>): Promise<Copied> {
  if (to.path === "-") throw unwritable("-", "a directory cannot go to standard output");
  const sessionId = await sessionOf(from, connection, signal);
  const own = posix.basename(posix.normalize(from.path));
  const target = isDirectory(to.path) && own !== ".." ? join(to.path, own) : to.path;
  using progress = new TransferProgress();
  const options = { signal, timeoutMs: transferTimeoutMs, onProgress: (bytes: number) => progress.reach(bytes) };
  const files = connection.client.files(sessionId);
  const places = { from: from.path === "" ? "." : from.path, to: target };
  const { sizeBytes, ...counts } = await downloadDirectory(files, places, options);
  return { session_id: sessionId, path: target, size: sizeBytes, ...counts };
}

async function isRemoteDirectory({ connection, from, signal }: Transfer<RemotePlace, LocalPlace>): Promise<boolean> {
  const files = connection.client.files(await sessionOf(from, connection, signal));
  const { type } = await files.stat(from.path === "" ? "." : from.path, { signal, follow: true });
  return type === "directory";
}

async function upload({ connection, from, to, signal }: Transfer<LocalPlace, RemotePlace>): Promise<Copied> {
  const sizeBytes = from.path === "-" ? undefined : localSize(from.path);
  const sessionId = await sessionOf(to, connection, signal);
  const target = to.path === "" || to.path.endsWith("/") ? `${to.path}${localName(from.path)}` : to.path;
  using progress = new TransferProgress(sizeBytes);
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
    throw unwritable(path, reason(cause), cause);
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
  throw unreadable(path, "it is no file; a directory needs -r");
}

function unreadable(path: string, why: string, cause?: unknown): InstaVmError {
  const next = "Check the path and its permissions.";
  return new InstaVmError("bad_request", `The file ${path} cannot be read: ${why}.`, { next, cause });
}

function unwritable(path: string, why: string, cause?: unknown): InstaVmError {
  const next = "Check the path and its permissions.";
  return new InstaVmError("bad_request", `The file ${path} cannot be written: ${why}.`, { next, cause });
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
