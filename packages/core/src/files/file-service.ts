import type { AgentFiles, DirectoryPage, FileEntry, FileEvent, FileOwner, OpenedFile } from "../ports/agent-files.ts";
import type { Waiting } from "../ports/waiting.ts";
import { explainLoss } from "../sessions/explain-loss.ts";
import type { OwnVms, ReachedVm, VmReference } from "../sessions/own-vms.ts";
import type { Caller } from "../sessions/sessions.ts";
import { joinSignals } from "../waiting/deadline.ts";
import type { WorkGauge } from "../waiting/work-gauge.ts";
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

/** What files are moved with. */
export interface FileServiceParts {
  readonly ownVms: OwnVms;
  readonly gauge: WorkGauge;
  /** Fires when the server stops. */
  readonly closing: AbortSignal;
}

/** A caller's way to the files of one VM. */
interface Opened {
  readonly files: AgentFiles;
  readonly vm: ReachedVm;
  readonly signal: AbortSignal;
}

/** Who asks for which VM. */
interface Asked {
  readonly caller: Caller;
  readonly vm: VmReference;
  readonly waiting: Waiting;
}

/** Hands the clients' calls to the agent of the right VM, and content piece by piece between the two. */
export class FileService implements Files {
  readonly #parts: FileServiceParts;

  constructor(parts: FileServiceParts) {
    this.#parts = parts;
  }

  async read(caller: Caller, { vm, path, ...range }: ReadRequest, waiting: Waiting = {}): Promise<OpenedFile> {
    return this.#call({ caller, vm, waiting }, async (opened) => {
      const file = await opened.files.read(path, { ...range, signal: opened.signal });
      return { ...file, content: this.#pieces(file.content, opened), cancel: () => file.cancel() };
    });
  }

  async write(caller: Caller, request: WriteRequest, waiting: Waiting = {}): Promise<WrittenFile> {
    const { vm, path, content, ...options } = request;
    return this.#call({ caller, vm, waiting }, ({ files, signal }) =>
      files.write(path, content, { ...options, makeParents: true, signal }),
    );
  }

  async stat(
    caller: Caller,
    { vm, path, follow }: FilePlace & { readonly follow: boolean },
    waiting: Waiting = {},
  ): Promise<FileEntry> {
    return this.#call({ caller, vm, waiting }, ({ files, signal }) => files.stat(path, { follow, signal }));
  }

  async list(
    caller: Caller,
    { vm, path, ...page }: FilePlace & { readonly after?: string; readonly limit: number },
    waiting: Waiting = {},
  ): Promise<DirectoryPage> {
    return this.#call({ caller, vm, waiting }, ({ files, signal }) => files.list(path, { ...page, signal }));
  }

  async makeDirectory(
    caller: Caller,
    { vm, path, ...options }: MakeDirectoryRequest,
    waiting: Waiting = {},
  ): Promise<FileEntry> {
    return this.#call({ caller, vm, waiting }, ({ files, signal }) =>
      files.makeDirectory(path, { ...options, signal }),
    );
  }

  async move(caller: Caller, { vm, from, to, ...options }: MoveRequest, waiting: Waiting = {}): Promise<FileEntry> {
    return this.#call({ caller, vm, waiting }, ({ files, signal }) => files.move(from, to, { ...options, signal }));
  }

  async remove(
    caller: Caller,
    { vm, path, recursive }: FilePlace & { readonly recursive: boolean },
    waiting: Waiting = {},
  ): Promise<number> {
    return this.#call({ caller, vm, waiting }, ({ files, signal }) => files.remove(path, { recursive, signal }));
  }

  async change(
    caller: Caller,
    { vm, path, ...options }: FilePlace & { readonly mode?: number; readonly owner?: FileOwner },
    waiting: Waiting = {},
  ): Promise<FileEntry> {
    return this.#call({ caller, vm, waiting }, ({ files, signal }) => files.change(path, { ...options, signal }));
  }

  async readTree(caller: Caller, { vm, path }: FilePlace, waiting: Waiting = {}): Promise<AsyncIterable<Uint8Array>> {
    return this.#call({ caller, vm, waiting }, (opened) =>
      this.#begun(opened.files.readTree(path, { signal: opened.signal }), opened),
    );
  }

  async writeTree(caller: Caller, request: WriteTreeRequest, waiting: Waiting = {}): Promise<WrittenTree> {
    const { vm, path, content, ...options } = request;
    return this.#call({ caller, vm, waiting }, ({ files, signal }) =>
      files.writeTree(path, content, { ...options, makeParents: true, signal }),
    );
  }

  async watch(
    caller: Caller,
    { vm, path, recursive }: FilePlace & { readonly recursive: boolean },
    waiting: Waiting = {},
  ): Promise<AsyncIterable<FileEvent>> {
    return this.#call({ caller, vm, waiting }, (opened) =>
      this.#begun(opened.files.watch(path, { recursive, signal: opened.signal }), opened),
    );
  }

  /** One call on the agent of the caller's VM. */
  async #call<T>({ caller, vm, waiting }: Asked, work: (opened: Opened) => Promise<T>): Promise<T> {
    const signal = joinSignals(this.#parts.closing, waiting.signal);
    signal.throwIfAborted();
    using _work = this.#parts.gauge.enter();
    const reached = await this.#parts.ownVms.reach(caller, vm, { ...waiting, signal });
    const opened = { files: reached.agent.files, vm: reached, signal };
    return await explained(work(opened), opened);
  }

  /** Waits for the first piece, so that what cannot be read fails here. */
  async #begun<T>(content: AsyncIterable<T>, opened: Opened): Promise<AsyncIterable<T>> {
    const pieces = content[Symbol.asyncIterator]();
    const first = await pieces.next();
    const rest: AsyncIterableIterator<T> = {
      next: () => pieces.next(),
      return: async () => (await pieces.return?.()) ?? { done: true, value: undefined },
      [Symbol.asyncIterator]: () => rest,
    };
    return this.#pieces(first.done === true ? none : withFirst(first.value, rest), opened);
  }

  /** Counts as work, and says why the VM is gone when it is. */
  async *#pieces<T>(content: AsyncIterable<T>, opened: Opened): AsyncGenerator<T, void, undefined> {
    using _work = this.#parts.gauge.enter();
    try {
      yield* content;
    } catch (error) {
      throw await explanation(error, opened);
    }
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

/** The outcome of a guest call, or why there is none. */
async function explained<T>(work: Promise<T>, opened: Opened): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw await explanation(error, opened);
  }
}

async function explanation(error: unknown, { vm, signal }: Opened): Promise<unknown> {
  if (signal.aborted) return signal.reason;
  return explainLoss(error, { vm, session: vm.session, during: "while a file was moved" });
}
