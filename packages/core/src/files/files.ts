import type { DirectoryPage, FileEntry, FileEvent, FileOwner, OpenedFile } from "../ports/agent-files.ts";
import type { Waiting } from "../ports/waiting.ts";
import type { VmReference } from "../sessions/own-vms.ts";
import type { Caller } from "../sessions/sessions.ts";

/** A file inside a VM. A relative path starts at the workdir. */
export interface FilePlace {
  readonly vm: VmReference;
  readonly path: string;
}

/** A part of a file to read. */
export interface ReadRequest extends FilePlace {
  /** The first byte; 0 when nothing is said. */
  readonly offset?: number;
  /** Bytes; to the end when nothing is said. */
  readonly length?: number;
}

/** A file to write, in place of what is there. */
export interface WriteRequest extends FilePlace {
  /** Read as the guest takes it. When it fails, the file stays as it was. */
  readonly content: AsyncIterable<Uint8Array>;
  /** Permission bits; undefined = those of the file that is replaced, else 0644. */
  readonly mode?: number;
  /** Undefined = the owner of the file that is replaced, else root. */
  readonly owner?: FileOwner;
  /** A file that is there already is a `conflict`. */
  readonly mustBeNew?: boolean;
  readonly limitBytes: number;
}

/** A file that was written whole. */
export interface WrittenFile {
  /** Absolute, inside the VM. */
  readonly path: string;
  readonly bytes: number;
}

/** A directory to make. */
export interface MakeDirectoryRequest extends FilePlace {
  /** Also those above it; one that is there already will do. */
  readonly makeParents: boolean;
  readonly mode?: number;
  readonly owner?: FileOwner;
}

/** A file or directory to move. */
export interface MoveRequest {
  readonly vm: VmReference;
  readonly from: string;
  readonly to: string;
  readonly overwrite: boolean;
  readonly makeParents: boolean;
}

/** A tar archive to unpack below a directory. */
export interface WriteTreeRequest extends FilePlace {
  readonly content: AsyncIterable<Uint8Array>;
  readonly limitBytes: number;
  /** `archive` takes the numbers of the archive; undefined = the image's user. */
  readonly owner?: FileOwner | "archive";
}

/** What was unpacked. */
export interface WrittenTree {
  readonly bytes: number;
  readonly entries: number;
  /** Devices and pipes, which are not made. */
  readonly skipped: number;
}

/**
 * Files of VMs. Every call rejects with an InstaVmError, or with the reason of an aborted signal. A file that is
 * missing is `file_not_found`, what is in the way a `conflict`, a directory in place of a file `invalid`.
 */
export interface Files {
  /** Read the content to its end, leave its loop, or cancel it. What is not read is not asked of the guest. */
  read(caller: Caller, request: ReadRequest, waiting?: Waiting): Promise<OpenedFile>;
  /** Resolves when the file is there, whole. Makes missing directories. Throws `too_large`. */
  write(caller: Caller, request: WriteRequest, waiting?: Waiting): Promise<WrittenFile>;
  /** Of a link itself, unless `follow`. */
  stat(caller: Caller, request: FilePlace & { readonly follow: boolean }, waiting?: Waiting): Promise<FileEntry>;
  /** One page of a directory, of names greater than `after`. */
  list(
    caller: Caller,
    request: FilePlace & { readonly after?: string; readonly limit: number },
    waiting?: Waiting,
  ): Promise<DirectoryPage>;
  makeDirectory(caller: Caller, request: MakeDirectoryRequest, waiting?: Waiting): Promise<FileEntry>;
  /** Resolves with what is at `to` now. */
  move(caller: Caller, request: MoveRequest, waiting?: Waiting): Promise<FileEntry>;
  /** Resolves with the number of files, directories and links that were removed. */
  remove(caller: Caller, request: FilePlace & { readonly recursive: boolean }, waiting?: Waiting): Promise<number>;
  change(
    caller: Caller,
    request: FilePlace & { readonly mode?: number; readonly owner?: FileOwner },
    waiting?: Waiting,
  ): Promise<FileEntry>;
  /** A directory's content, or one file, as a tar archive; resolves with its first bytes. */
  readTree(caller: Caller, request: FilePlace, waiting?: Waiting): Promise<AsyncIterable<Uint8Array>>;
  /** What was unpacked before a failure stays. */
  writeTree(caller: Caller, request: WriteTreeRequest, waiting?: Waiting): Promise<WrittenTree>;
  /** Resolves when everything from now on is told. Leaving the loop ends the watch. */
  watch(
    caller: Caller,
    request: FilePlace & { readonly recursive: boolean },
    waiting?: Waiting,
  ): Promise<AsyncIterable<FileEvent>>;
}
