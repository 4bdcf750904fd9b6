import type { FileEntry, FileEvent, FileType } from "@instavm/core";
import {
  type FileEntry as WireEntry,
  type FileEvent as WireEvent,
  FileEventKind,
  FileType as WireFileType,
} from "@instavm/protocol/guest";
import { toNumber } from "./answers.ts";
import { printable } from "./failure.ts";
import { readGuestText, readName, readPath } from "./guest-path.ts";
import { guestProtocolError } from "./link-errors.ts";

const mostModeBits = 0o7777;
const longestAccountName = 256;
const nanosecondsPerMs = 1_000_000;

/** Throws `guest_protocol` for what no file is. */
export function readEntry(entry: WireEntry): FileEntry {
  const { text, raw } = readName(entry.name);
  if (entry.mode > mostModeBits) throw guestProtocolError(`the mode ${entry.mode.toString(8)}`);
  const type = readType(entry.type);
  return {
    name: text,
    rawName: raw,
    type,
    sizeBytes: toNumber(entry.size),
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    user: accountName(entry.user),
    group: accountName(entry.group),
    modifiedMs: Number(entry.modifiedNs) / nanosecondsPerMs,
    linkTarget: type === "symlink" ? readPath(entry.linkTarget) : undefined,
  };
}

function accountName(name: string): string | undefined {
  return name === "" ? undefined : printable(name.slice(0, longestAccountName));
}

function readType(type: WireFileType): FileType {
  switch (type) {
    case WireFileType.FILE:
      return "file";
    case WireFileType.DIRECTORY:
      return "directory";
    case WireFileType.SYMLINK:
      return "symlink";
    case WireFileType.OTHER:
      return "other";
    case WireFileType.UNSPECIFIED:
    default:
      throw guestProtocolError(`file type ${String(type)}`);
  }
}

/** Throws `guest_protocol` for what no event is. */
export function readFileEvent(event: WireEvent): FileEvent {
  const { text: path, raw: rawPath } = readGuestText(event.path);
  const of = { path, rawPath, isDirectory: event.isDirectory };
  switch (event.kind) {
    case FileEventKind.READY:
      return { type: "ready" };
    case FileEventKind.OVERFLOW:
      return { type: "overflow" };
    case FileEventKind.CREATED:
      return { type: "created", ...of };
    case FileEventKind.MODIFIED:
      return { type: "modified", ...of };
    case FileEventKind.ATTRIBUTES:
      return { type: "attributes", ...of };
    case FileEventKind.REMOVED:
      return { type: "removed", ...of };
    case FileEventKind.UNWATCHED:
      return { type: "unwatched", ...of };
    case FileEventKind.MOVED: {
      const { text: fromPath, raw: rawFromPath } = readGuestText(event.fromPath);
      return { type: "moved", ...of, fromPath, rawFromPath };
    }
    case FileEventKind.UNSPECIFIED:
    default:
      throw guestProtocolError(`file event ${String(event.kind)}`);
  }
}
