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
  readonly limitBytes: number;
}

/** A file that was written whole. */
export interface WrittenFile {
  /** Absolute, inside the VM. */
  readonly path: string;
  readonly bytes: number;
}

/** Files of VMs. Every call rejects with an InstaVmError, or with the reason of an aborted signal. */
export interface Files {
  /**
   * Resolves with the content once its first bytes are there; read it to the end, or leave its loop. What is not read
   * is not asked of the guest. Throws `file_not_found`, and `invalid` for a directory.
   */
  read(caller: Caller, request: ReadRequest, waiting?: Waiting): Promise<AsyncIterable<Uint8Array>>;
  /** Resolves when the file is there, whole. Makes missing directories. Throws `too_large`. */
  write(caller: Caller, request: WriteRequest, waiting?: Waiting): Promise<WrittenFile>;
}
