import type { Waiting } from "./waiting.ts";

/** A path or a name inside the VM. Text is UTF-8; bytes are for names that are not. A relative path starts at the image's workdir. */
export type GuestPath = string | Uint8Array;

/** `other` is a pipe, socket or device. */
export type FileType = "file" | "directory" | "symlink" | "other";

/** One file as the VM describes it. */
export interface FileEntry {
  /** Without a slash; "/" for the root. U+FFFD stands for what is not UTF-8. */
  readonly name: string;
  /** The name's bytes, when it is not UTF-8. */
  readonly rawName: Uint8Array | undefined;
  readonly type: FileType;
  readonly sizeBytes: number;
  /** Permission bits, at most 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** undefined when the number has no name in the VM. */
  readonly user: string | undefined;
  readonly group: string | undefined;
  /** Last change of the content, in ms since 1970 UTC. */
  readonly modifiedMs: number;
  /** Where a symbolic link points, as it is written in the link. */
  readonly linkTarget: string | undefined;
}

/** Whom a file shall belong to: names or numbers of the VM. A user alone brings its own group. */
export interface FileOwner {
  readonly user?: string;
  readonly group?: string;
}

/** One page of a directory, sorted by the bytes of the names. */
export interface DirectoryPage {
  readonly entries: readonly FileEntry[];
  /** Greater names may be there: ask again after the last one of these. */
  readonly hasMore: boolean;
}

/** A file whose content is on its way. */
export interface OpenedFile {
  readonly entry: FileEntry;
  /** Iterated once. Leaving it early ends the call; what is not read is not asked for. */
  readonly content: AsyncIterable<Uint8Array>;
  /** Ends the call when the content is not wanted. Idempotent. */
  cancel(): void;
}

/** What happened to a file; paths are relative to what is watched, and empty for itself. */
export type FileEvent =
  /** `ready`: everything from now on is told. `overflow`: events were lost, look at everything again. */
  | { readonly type: "ready" | "overflow" }
  | {
      /** `unwatched`: what is below this directory is not told, because too much is watched already. */
      readonly type: "created" | "modified" | "attributes" | "removed" | "unwatched";
      readonly path: string;
      /** The path's bytes, when it is not UTF-8. */
      readonly rawPath: Uint8Array | undefined;
      readonly isDirectory: boolean;
    }
  | {
      readonly type: "moved";
      readonly path: string;
      readonly rawPath: Uint8Array | undefined;
      readonly fromPath: string;
      readonly rawFromPath: Uint8Array | undefined;
      readonly isDirectory: boolean;
    };

/** Options of one written file. */
export interface WriteFileOptions extends Waiting {
  /** Permission bits; undefined = 0o644, or those of the file that is replaced. */
  readonly mode?: number;
  readonly makeParents?: boolean;
  readonly limitBytes?: number;
  /** undefined = the owner of the file that is replaced, else root. */
  readonly owner?: FileOwner;
  /** A file that is there already is a `conflict`. */
  readonly mustBeNew?: boolean;
}

/** Options of one unpacked archive. */
export interface WriteTreeOptions extends Waiting {
  /** The directory itself and those above it are made when missing. */
  readonly makeParents?: boolean;
  /** Of the files' content together. */
  readonly limitBytes?: number;
  /** Of everything that is unpacked: `archive` takes the numbers of the archive; undefined = the image's user. */
  readonly owner?: FileOwner | "archive";
}

/**
 * The files of a VM. Missing files are `file_not_found`, what is in the way is a `conflict`, a wrong path is `invalid`.
 * The agent acts as root.
 */
export interface AgentFiles {
  /** Of a link itself, unless `follow`. */
  stat(path: GuestPath, options?: Waiting & { readonly follow?: boolean }): Promise<FileEntry>;
  /** At most `limit` entries (1 to 1000; 1000 when undefined) with names greater than `after`; a page may be shorter. */
  list(
    path: GuestPath,
    options?: Waiting & { readonly after?: GuestPath; readonly limit?: number },
  ): Promise<DirectoryPage>;
  /** With `makeParents` one that is there already will do. */
  makeDirectory(
    path: GuestPath,
    options?: Waiting & { readonly makeParents?: boolean; readonly mode?: number; readonly owner?: FileOwner },
  ): Promise<FileEntry>;
  /** Resolves with what is at `to` now. */
  move(
    from: GuestPath,
    to: GuestPath,
    options?: Waiting & { readonly overwrite?: boolean; readonly makeParents?: boolean },
  ): Promise<FileEntry>;
  /** Resolves with the number of files, directories and links that were removed. */
  remove(path: GuestPath, options?: Waiting & { readonly recursive?: boolean }): Promise<number>;
  /** Changes mode, owner, or both. */
  change(
    path: GuestPath,
    options: Waiting & { readonly mode?: number; readonly owner?: FileOwner },
  ): Promise<FileEntry>;
  /** `length` undefined or 0 = to the end. */
  read(
    path: GuestPath,
    options?: Waiting & { readonly offset?: number; readonly length?: number },
  ): Promise<OpenedFile>;
  /** The file appears whole or not at all. */
  write(
    path: GuestPath,
    content: AsyncIterable<Uint8Array> | Uint8Array,
    options?: WriteFileOptions,
  ): Promise<{ readonly path: string; readonly bytes: number }>;
  /** A directory's content, or one file, as a tar archive. Fails when a file cannot be read. */
  readTree(path: GuestPath, options?: Waiting): AsyncIterable<Uint8Array>;
  /**
   * Unpacks a tar archive below a directory. An entry that would leave the directory is `invalid`; what was unpacked
   * before stays. `skipped` counts devices and pipes, which are not made.
   */
  writeTree(
    path: GuestPath,
    content: AsyncIterable<Uint8Array> | Uint8Array,
    options?: WriteTreeOptions,
  ): Promise<{ readonly bytes: number; readonly entries: number; readonly skipped: number }>;
  /** Ends when what is watched is removed. Leaving the loop early ends the watch. */
  watch(path: GuestPath, options?: Waiting & { readonly recursive?: boolean }): AsyncIterable<FileEvent>;
}
