import type { Waiting } from "../ports/waiting.ts";
import { explainLoss } from "../sessions/explain-loss.ts";
import type { OwnVms, ReachedVm } from "../sessions/own-vms.ts";
import type { Caller } from "../sessions/sessions.ts";
import { joinSignals } from "../waiting/deadline.ts";
import type { WorkGauge } from "../waiting/work-gauge.ts";
import type { Files, ReadRequest, WriteRequest, WrittenFile } from "./files.ts";

/** What files are moved with. */
export interface FileServiceParts {
  readonly ownVms: OwnVms;
  readonly gauge: WorkGauge;
  /** Fires when the server stops. */
  readonly closing: AbortSignal;
}

/** Moves files piece by piece between a client and the agent of its VM. */
export class FileService implements Files {
  readonly #parts: FileServiceParts;

  constructor(parts: FileServiceParts) {
    this.#parts = parts;
  }

  async read(caller: Caller, request: ReadRequest, waiting: Waiting = {}): Promise<AsyncIterable<Uint8Array>> {
    const signal = joinSignals(this.#parts.closing, waiting.signal);
    signal.throwIfAborted();
    using _work = this.#parts.gauge.enter();
    const vm = await this.#parts.ownVms.reach(caller, request.vm, { ...waiting, signal });
    const { path, offset = 0, length } = request;
    const range = { offset, ...(length === undefined ? {} : { length }) };
    const pieces = vm.agent.readFile(path, { ...range, signal })[Symbol.asyncIterator]();
    const first = await explained(pieces.next(), vm, signal);
    return first.done === true ? nothing() : this.#rest({ first: first.value, pieces }, vm, signal);
  }

  async write(caller: Caller, request: WriteRequest, waiting: Waiting = {}): Promise<WrittenFile> {
    const signal = joinSignals(this.#parts.closing, waiting.signal);
    signal.throwIfAborted();
    using _work = this.#parts.gauge.enter();
    const vm = await this.#parts.ownVms.reach(caller, request.vm, { ...waiting, signal });
    const { path, content, mode, limitBytes } = request;
    const options = { signal, limitBytes, makeParents: true, ...(mode === undefined ? {} : { mode }) };
    return explained(vm.agent.writeFile(path, content, options), vm, signal);
  }

  async *#rest(
    { first, pieces }: { readonly first: Uint8Array; readonly pieces: AsyncIterator<Uint8Array> },
    vm: ReachedVm,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    using _work = this.#parts.gauge.enter();
    try {
      yield first;
      for (;;) {
        const next = await explained(pieces.next(), vm, signal);
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      // Without effect at the end; else it tells the guest to stop.
      await pieces.return?.();
    }
  }
}

async function* nothing(): AsyncGenerator<Uint8Array, void, undefined> {
  // An empty file.
}

/** The outcome of a guest call, or why there is none. */
async function explained<T>(work: Promise<T>, vm: ReachedVm, signal: AbortSignal): Promise<T> {
  try {
    return await work;
  } catch (error) {
    signal.throwIfAborted();
    throw await explainLoss(error, { vm, session: vm.session, during: "while a file was moved" });
  }
}
