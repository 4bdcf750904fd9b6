import { InstaVmError } from "@instavm/contract";
import type {
  AgentProcesses,
  AttachOptions,
  GuestProcess,
  ProcessOutputEvent,
  ProcessReader,
  StartProcessRequest,
  Waiting,
} from "@instavm/core";
import type { FakeCall } from "./fake-call.ts";
import type { AskGuest } from "./fake-files.ts";
import type { FakeProcess } from "./guest-process.ts";
import type { Guest } from "./guest.ts";

/** Opens a call of the agent that lasts. */
export type OpenCall = <Ended>(
  name: string,
  waiting: Waiting | undefined,
  run: (call: FakeCall<Ended>) => Promise<void> | void,
) => FakeCall<Ended>;

/** The processes of a fake guest, over one session. */
export class FakeProcesses implements AgentProcesses {
  readonly #guest: Guest;
  readonly #calls: { readonly ask: AskGuest; readonly open: OpenCall };

  constructor(guest: Guest, calls: { readonly ask: AskGuest; readonly open: OpenCall }) {
    this.#guest = guest;
    this.#calls = calls;
  }

  start(request: StartProcessRequest, waiting?: Waiting): Promise<GuestProcess> {
    return this.#calls.ask("processes.start", waiting, () => this.#guest.processes.start(request));
  }

  list(waiting?: Waiting): Promise<readonly GuestProcess[]> {
    return this.#calls.ask("processes.list", waiting, () => this.#guest.processes.list());
  }

  attach(processId: number, options: AttachOptions = {}): ProcessReader {
    const found = Promise.withResolvers<FakeProcess>();
    const call = this.#calls.open<GuestProcess>("processes.attach", options, () =>
      found.resolve(this.#guest.processes.find(processId)),
    );
    return { state: call.ended, [Symbol.asyncIterator]: () => read({ call, found: found.promise }, options) };
  }

  writeStdin(
    processId: number,
    content: AsyncIterable<Uint8Array> | Uint8Array,
    options?: Waiting & { readonly close?: boolean },
  ): Promise<number> {
    const call = this.#calls.open<number>("processes.writeStdin", options, async (opened) => {
      const process = this.#guest.processes.find(processId);
      let bytes = 0;
      for await (const data of content instanceof Uint8Array ? [content] : content) {
        process.write(data);
        bytes += data.length;
      }
      // What is closed already says so, also to nothing.
      process.write(new Uint8Array());
      if (options?.close === true) process.closeStdin();
      opened.end(bytes);
    });
    return call.ended;
  }

  signal(processId: number, signal: number, waiting?: Waiting): Promise<GuestProcess> {
    return this.#calls.ask("processes.signal", waiting, () => {
      const process = this.#guest.processes.find(processId);
      process.signal(signal);
      return process.describe();
    });
  }

  wait(processId: number, waiting?: Waiting): Promise<GuestProcess> {
    const call = this.#calls.open<GuestProcess>("processes.wait", waiting, async (opened) => {
      const process = this.#guest.processes.find(processId);
      await process.over;
      opened.end(process.describe());
    });
    return call.ended;
  }

  forget(processId: number, waiting?: Waiting): Promise<GuestProcess> {
    return this.#calls.ask("processes.forget", waiting, () => this.#guest.processes.forget(processId));
  }
}

/** Reads until the process's end, or that of the call. */
async function* read(
  { call, found }: { readonly call: FakeCall<GuestProcess>; readonly found: Promise<FakeProcess> },
  options: AttachOptions,
): AsyncGenerator<ProcessOutputEvent, void, undefined> {
  const isOver = call.ended.then(
    () => undefined,
    () => undefined,
  );
  try {
    const process = await Promise.race([found, isOver]);
    if (process !== undefined) {
      yield* process.read(options, { isWanted: () => !call.isOver, stop: isOver });
      call.end(process.describe());
    }
    await call.ended;
  } finally {
    call.fail(new InstaVmError("cancelled", "the reader left"));
  }
}
