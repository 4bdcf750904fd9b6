import { InstaVmError } from "@instavm/contract";
import type {
  AgentFiles,
  DirectoryPage,
  FileEntry,
  FileEvent,
  GuestPath,
  OpenedFile,
  Waiting,
  WriteFileOptions,
} from "@instavm/core";
import type { Guest } from "./guest.ts";

/** Does something in the guest as one call of its agent. */
export type AskGuest = <T>(name: string, waiting: Waiting | undefined, effect: () => T) => Promise<T>;

/** The files of a fake guest: contents by their path. Directories are what paths say; modes and owners are not kept. */
export class FakeFiles implements AgentFiles {
  readonly #guest: Guest;
  readonly #ask: AskGuest;

  constructor(guest: Guest, ask: AskGuest) {
    this.#guest = guest;
    this.#ask = ask;
  }

  stat(path: GuestPath, options?: Waiting): Promise<FileEntry> {
    return this.#ask("files.stat", options, () => this.#entry(path));
  }

  list(path: GuestPath, options?: Waiting & { readonly limit?: number }): Promise<DirectoryPage> {
    return this.#ask("files.list", options, () => {
      const below = this.#below(path);
      const { limit = below.length } = options ?? {};
      return { entries: below.slice(0, limit).map((each) => this.#entry(each)), hasMore: below.length > limit };
    });
  }

  makeDirectory(path: GuestPath, options?: Waiting): Promise<FileEntry> {
    return this.#ask("files.makeDirectory", options, () => ({
      ...entryOf(textOf(path), new Uint8Array()),
      type: "directory" as const,
    }));
  }

  move(from: GuestPath, to: GuestPath, options?: Waiting): Promise<FileEntry> {
    return this.#ask("files.move", options, () => {
      this.#files.set(textOf(to), this.#content(from));
      this.#files.delete(textOf(from));
      return this.#entry(to);
    });
  }

  remove(path: GuestPath, options?: Waiting): Promise<number> {
    return this.#ask("files.remove", options, () => {
      this.#content(path);
      this.#files.delete(textOf(path));
      return 1;
    });
  }

  change(path: GuestPath, options: Waiting & { readonly mode?: number }): Promise<FileEntry> {
    return this.#ask("files.change", options, () => ({ ...this.#entry(path), mode: options.mode ?? 0o644 }));
  }

  async read(
    path: GuestPath,
    options?: Waiting & { readonly offset?: number; readonly length?: number },
  ): Promise<OpenedFile> {
    const { offset = 0, length } = options ?? {};
    const content = await this.#ask("files.read", options, () => this.#content(path));
    const part = content.subarray(offset, length === undefined ? undefined : offset + length);
    return { entry: entryOf(textOf(path), content), content: onePiece(part), cancel: () => {} };
  }

  async write(
    path: GuestPath,
    content: AsyncIterable<Uint8Array> | Uint8Array,
    options?: WriteFileOptions,
  ): Promise<{ readonly path: string; readonly bytes: number }> {
    const whole = await wholeOf(content);
    await this.#ask("files.write", options, () => {
      if (options?.mustBeNew === true && this.#files.has(textOf(path))) {
        throw new InstaVmError("conflict", `${textOf(path)} is there already`);
      }
      this.#files.set(textOf(path), whole);
    });
    return { path: textOf(path), bytes: whole.length };
  }

  /** Not an archive: the contents, one behind the other. */
  async *readTree(path: GuestPath, options?: Waiting): AsyncGenerator<Uint8Array, void, undefined> {
    const contents = await this.#ask("files.readTree", options, () =>
      this.#below(path).map((each) => this.#content(each)),
    );
    if (contents.length === 0) throw missing(textOf(path));
    yield* contents;
  }

  /** Keeps what comes as one file, `archive`. */
  async writeTree(
    path: GuestPath,
    content: AsyncIterable<Uint8Array> | Uint8Array,
    options?: Waiting,
  ): Promise<{ readonly bytes: number; readonly entries: number; readonly skipped: number }> {
    const { bytes } = await this.write(`${textOf(path)}/archive`, content, options);
    return { bytes, entries: 1, skipped: 0 };
  }

  /** Tells that it watches, and nothing more until it is given up. */
  async *watch(path: GuestPath, options?: Waiting): AsyncGenerator<FileEvent, void, undefined> {
    await this.#ask("files.watch", options, () => this.#below(path));
    yield { type: "ready" };
    options?.signal?.throwIfAborted();
    const { promise, reject } = Promise.withResolvers<never>();
    options?.signal?.addEventListener("abort", () => reject(options.signal?.reason), { once: true });
    await promise;
  }

  get #files(): Map<string, Uint8Array> {
    return this.#guest.state.files;
  }

  #content(path: GuestPath): Uint8Array {
    const content = this.#files.get(textOf(path));
    if (content === undefined) throw missing(textOf(path));
    return content;
  }

  #entry(path: GuestPath): FileEntry {
    return entryOf(textOf(path), this.#content(path));
  }

  #below(path: GuestPath): readonly string[] {
    return [...this.#files.keys()].filter((each) => each.startsWith(`${textOf(path)}/`)).toSorted();
  }
}

function missing(path: string): InstaVmError {
  return new InstaVmError("file_not_found", `${path} does not exist in the VM`);
}

function textOf(path: GuestPath): string {
  return typeof path === "string" ? path : Buffer.from(path).toString();
}

async function wholeOf(content: AsyncIterable<Uint8Array> | Uint8Array): Promise<Uint8Array> {
  if (content instanceof Uint8Array) return content;
  const pieces: Uint8Array[] = [];
  for await (const piece of content) pieces.push(piece);
  return Buffer.concat(pieces);
}

async function* onePiece(content: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  if (content.length > 0) yield content;
}

function entryOf(path: string, content: Uint8Array): FileEntry {
  return {
    name: path.split("/").at(-1) ?? path,
    rawName: undefined,
    type: "file",
    sizeBytes: content.length,
    mode: 0o644,
    uid: 0,
    gid: 0,
    user: "root",
    group: "root",
    modifiedMs: 0,
    linkTarget: undefined,
  };
}
