import { InstaVmError } from "@instavm/contract";
import type { Caller, Files, ReadRequest, Waiting, WriteRequest, WrittenFile } from "@instavm/core";

/** Files without VMs: kept in memory by their path. */
export class MemoryFiles implements Files {
  readonly contents = new Map<string, Uint8Array>();
  /** Bytes that were taken from clients, also of files that never became whole. */
  takenBytes = 0;
  /** Why writes ended that did not come to a file. */
  readonly brokenWrites: unknown[] = [];
  /** Awaited before each piece is taken or given. */
  pace: () => Promise<void> = async () => undefined;

  async read(_caller: Caller, request: ReadRequest): Promise<AsyncIterable<Uint8Array>> {
    const content = this.contents.get(request.path);
    if (content === undefined) {
      throw new InstaVmError("file_not_found", `read file: ${request.path} does not exist`);
    }
    const { offset = 0, length = content.length } = request;
    return this.#pieces(content.subarray(offset, offset + length));
  }

  async write(_caller: Caller, request: WriteRequest, waiting?: Waiting): Promise<WrittenFile> {
    const pieces: Uint8Array[] = [];
    try {
      for await (const piece of request.content) {
        await this.pace();
        waiting?.signal?.throwIfAborted();
        this.takenBytes += piece.length;
        pieces.push(Uint8Array.from(piece));
      }
    } catch (error) {
      this.brokenWrites.push(error);
      throw error;
    }
    const content = Buffer.concat(pieces);
    this.contents.set(request.path, content);
    return { path: `/root/${request.path}`, bytes: content.length };
  }

  async *#pieces(content: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
    for (let at = 0; at < content.length; at += 65_536) {
      await this.pace();
      yield content.subarray(at, at + 65_536);
    }
  }
}
