import type { FileChange as FileChangeBody, FileEntryAnswer } from "@instavm/contract";

/** One file of a VM. */
export interface FileEntry {
  /** Without its directory; U+FFFD stands for what is not UTF-8. */
  readonly name: string;
  /** The name's bytes as base64, when they are not UTF-8. */
  readonly rawName: string | undefined;
  /** `other`: a pipe, socket or device. */
  readonly type: "file" | "directory" | "symlink" | "other";
  readonly sizeBytes: number;
  /** Permission bits as octal digits: `0644`. */
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  readonly user: string | undefined;
  readonly group: string | undefined;
  readonly modifiedAt: string;
  /** Where a symbolic link points, as it is written in it. */
  readonly linkTarget: string | undefined;
}

/** Something that changed below a watched directory. */
export interface FileChange {
  /** `ready`: from now on nothing is missed. `overflow`: something was missed. `unwatched`: the directory is gone. */
  readonly type: FileChangeBody["type"];
  /** Relative to what is watched. */
  readonly path: string | undefined;
  /** Of `moved`. */
  readonly fromPath: string | undefined;
  readonly isDirectory: boolean | undefined;
}

export function toFileEntry(body: FileEntryAnswer): FileEntry {
  return {
    name: body.name,
    rawName: body.raw_name ?? undefined,
    type: body.type,
    sizeBytes: body.size,
    mode: body.mode,
    uid: body.uid,
    gid: body.gid,
    user: body.user ?? undefined,
    group: body.group ?? undefined,
    modifiedAt: body.modified_at,
    linkTarget: body.link_target ?? undefined,
  };
}

export function toFileChange(body: FileChangeBody): FileChange {
  return { type: body.type, path: body.path, fromPath: body.from_path, isDirectory: body.is_directory };
}
