import { InstaVmError, operations } from "@instavm/contract";
import { multipartBody } from "./multipart.ts";
import type { FileSource } from "./multipart.ts";
import type { CallOptions, Transport } from "./transport.ts";

/** A file that was written. */
export interface WrittenFile {
  /** Absolute, inside the VM. */
  readonly path: string;
  readonly sizeBytes: number;
}

const transferTimeoutMs = 600_000;

/** The files of one session's VM. A relative path starts at the workdir. */
export class Files {
  readonly #transport: Transport;
  readonly #sessionId: string;

  constructor(transport: Transport, sessionId: string) {
    this.#transport = transport;
    this.#sessionId = sessionId;
  }

  /**
   * Writes a file, whole or not at all, and the directories above it that are missing. In Node, `await openAsBlob(path)` of
   * `node:fs` sends a local file without holding it in memory. Most browsers cannot send a stream, but every Blob.
   */
  async write(path: string, content: FileSource, options: CallOptions = {}): Promise<WrittenFile> {
    const form = multipartBody({ session_id: this.#sessionId, remote_path: path, recursive: "true" }, content);
    const sent = { timeoutMs: transferTimeoutMs, ...options };
    const written = await this.#transport.call(operations.upload, { form }, sent);
    return { path: written.path, sizeBytes: written.size };
  }

  /** A file's bytes. Throws `file_not_found`, `invalid` for a directory, `too_large` over 1 GiB. */
  async readBytes(path: string, options: CallOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    const body = { filename: path, session_id: this.#sessionId };
    const got = await this.#transport.call(operations.download, { body }, { timeoutMs: transferTimeoutMs, ...options });
    const bytes = fromBase64(got.content.trim());
    if (bytes.length === got.size) return bytes;
    throw new InstaVmError("bad_gateway", `${path} has ${got.size} bytes, the answer holds ${bytes.length}.`);
  }

  /** A file's text. Throws `guest_failure` when its bytes are no UTF-8. */
  async read(path: string, options: CallOptions = {}): Promise<string> {
    const bytes = await this.readBytes(path, options);
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch (cause) {
      throw new InstaVmError("guest_failure", `The file ${path} is no UTF-8 text.`, {
        next: "Read it with readBytes.",
        cause,
      });
    }
  }

  /** The same as `write`. */
  async upload(path: string, content: FileSource, options: CallOptions = {}): Promise<WrittenFile> {
    return await this.write(path, content, options);
  }

  /** A file as a Blob, to be saved or shown. */
  async download(path: string, options: CallOptions = {}): Promise<Blob> {
    return new Blob([await this.readBytes(path, options)]);
  }
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
  return bytes;
}
