import type { FileChange, FileEntryAnswer } from "@instavm/contract";
import type { FileEntry, FileEvent } from "@instavm/core";
import { formatGuestTime } from "./guest-time.ts";

/** One file as the API shows it. */
export function fileAnswer(entry: FileEntry): FileEntryAnswer {
  return {
    name: entry.name,
    raw_name: entry.rawName === undefined ? null : Buffer.from(entry.rawName).toString("base64"),
    type: entry.type,
    size: entry.sizeBytes,
    mode: entry.mode.toString(8).padStart(4, "0"),
    uid: entry.uid,
    gid: entry.gid,
    user: entry.user ?? null,
    group: entry.group ?? null,
    modified_at: formatGuestTime(entry.modifiedMs),
    link_target: entry.linkTarget ?? null,
  };
}

/** A change as the data of an event. */
export function changeAnswer(change: FileEvent): FileChange {
  if (!("path" in change)) return { type: change.type };
  const { type, path, isDirectory } = change;
  const from = change.type === "moved" ? { from_path: change.fromPath } : {};
  return { type, path, ...from, is_directory: isDirectory };
}
