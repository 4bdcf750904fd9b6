import type { DirectoryPage, FileEntry, FileEvent, FileOwner, OpenedFile } from "../ports/agent-files.ts";
import type { Waiting } from "../ports/waiting.ts";
import type { Caller } from "../sessions/sessions.ts";
import { type OpenedVm, VmCalls, type VmCallsParts } from "../sessions/vm-calls.ts";
import type {
  FilePlace,
  Files,
  MakeDirectoryRequest,
  MoveRequest,
  ReadRequest,
  WriteRequest,
  WriteTreeRequest,
  WrittenFile,
  WrittenTree,
} from "./files.ts";

/** Hands the clients' calls to the agent of the right VM, and content piece by piece between the two. */
export class FileService implements Files {
  readonly #calls: VmCalls;

  constructor(parts: VmCallsParts) {
    this.#calls = new VmCalls(parts, "while a file was moved");
  }

  async read(caller: Caller, { vm, path, ...range }: ReadRequest, waiting: Waiting = {}): Promise<OpenedFile> {
    return this.#calls.call({ caller, vm, waiting }, async (opened) => {
      const file = await opened.agent.files.read(path, { ...range, signal: opened.signal });
      return { ...file, content: this.#calls.pieces(file.content, opened), cancel: () => file.cancel() };
    });
  }

  async write(caller: Caller, request: WriteRequest, waiting: Waiting = {}): Promise<WrittenFile> {
    const { vm, path, content, ...options } = request;
    return this.#calls.call({ caller, vm, waiting }, ({ agent: { files }, signal }) =>
      files.write(path, content, { ...options, makeParents: true, signal }),
    );
  }

  async stat(
    caller: Caller,
    { vm, path, follow }: FilePlace & { readonly follow: boolean },
    waiting: Waiting = {},
  ): Promise<FileEntry> {
    return this.#calls.call({ caller, vm, waiting }, ({ agent: { files }, signal }) =>
      files.stat(path, { follow, signal }),
    );
  }

  async list(
    caller: Caller,
    { vm, path, ...page }: FilePlace & { readonly after?: string; readonly limit: number },
    waiting: Waiting = {},
  ): Promise<DirectoryPage> {
    return this.#calls.call({ caller, vm, waiting }, ({ agent: { files }, signal }) =>
      files.list(path, { ...page, signal }),
    );
  }

  async makeDirectory(
    caller: Caller,
    { vm, path, ...options }: MakeDirectoryRequest,
    waiting: Waiting = {},
  ): Promise<FileEntry> {
    return this.#calls.call({ caller, vm, waiting }, ({ agent: { files }, signal }) =>
      files.makeDirectory(path, { ...options, signal }),
    );
  }

  async move(caller: Caller, { vm, from, to, ...options }: MoveRequest, waiting: Waiting = {}): Promise<FileEntry> {
    return this.#calls.call({ caller, vm, waiting }, ({ agent: { files }, signal }) =>
      files.move(from, to, { ...options, signal }),
    );
  }

  async remove(
    caller: Caller,
    { vm, path, recursive }: FilePlace & { readonly recursive: boolean },
    waiting: Waiting = {},
  ): Promise<number> {
    return this.#calls.call({ caller, vm, waiting }, ({ agent: { files }, signal }) =>
      files.remove(path, { recursive, signal }),
    );
  }

  async change(
    caller: Caller,
    { vm, path, ...options }: FilePlace & { readonly mode?: number; readonly owner?: FileOwner },
    waiting: Waiting = {},
  ): Promise<FileEntry> {
    return this.#calls.call({ caller, vm, waiting }, ({ agent: { files }, signal }) =>
      files.change(path, { ...options, signal }),
    );
  }

  async readTree(caller: Caller, { vm, path }: FilePlace, waiting: Waiting = {}): Promise<AsyncIterable<Uint8Array>> {
    return this.#calls.call({ caller, vm, waiting }, (opened) =>
      this.#begun(opened.agent.files.readTree(path, { signal: opened.signal }), opened),
    );
  }

  async writeTree(caller: Caller, request: WriteTreeRequest, waiting: Waiting = {}): Promise<WrittenTree> {
    const { vm, path, content, ...options } = request;
    return this.#calls.call({ caller, vm, waiting }, ({ agent: { files }, signal }) =>
      files.writeTree(path, content, { ...options, makeParents: true, signal }),
    );
  }

  async watch(
    caller: Caller,
    { vm, path, recursive }: FilePlace & { readonly recursive: boolean },
    waiting: Waiting = {},
  ): Promise<AsyncIterable<FileEvent>> {
    return this.#calls.call({ caller, vm, waiting }, (opened) =>
      this.#begun(opened.agent.files.watch(path, { recursive, signal: opened.signal }), opened),
    );
  }

  /** Waits for the first piece, so that what cannot be read fails here. */
  async #begun<T>(content: AsyncIterable<T>, opened: OpenedVm): Promise<AsyncIterable<T>> {
    const pieces = content[Symbol.asyncIterator]();
    const first = await pieces.next();
    const rest: AsyncIterableIterator<T> = {
      next: () => pieces.next(),
      return: async () => (await pieces.return?.()) ?? { done: true, value: undefined },
      [Symbol.asyncIterator]: () => rest,
    };
    return this.#calls.pieces(first.done === true ? none : withFirst(first.value, rest), opened);
  }
}

const none: AsyncIterable<never> = {
  async *[Symbol.asyncIterator]() {
    // Nothing came.
  },
};

async function* withFirst<T>(first: T, rest: AsyncIterableIterator<T>): AsyncGenerator<T, void, undefined> {
  try {
    yield first;
    yield* rest;
  } finally {
    // Also when the reader left at the first piece; without effect at the end.
    await rest.return?.();
  }
}
