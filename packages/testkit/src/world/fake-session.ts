import { InstaVmError } from "@instavm/contract";
import type {
  ActivateRequest,
  AgentContexts,
  AgentFiles,
  AgentProcesses,
  AgentSession,
  CodeEnded,
  ExecCall,
  ExecEnded,
  ExecRequest,
  GuestStats,
  OutputCall,
  RunCodeRequest,
  Waiting,
} from "@instavm/core";
import type { Faults } from "../faults.ts";
import { FakeCall } from "./fake-call.ts";
import { FakeContexts } from "./fake-contexts.ts";
import { FakeFiles } from "./fake-files.ts";
import { FakeProcesses } from "./fake-processes.ts";
import type { Guest } from "./guest.ts";

const defaultTimeoutMs = 10_000;

/** A session with a guest. Breaks when the VM's process ends. */
export class FakeAgentSession implements AgentSession {
  readonly closed: Promise<Error | undefined>;
  readonly #guest: Guest;
  readonly #faults: Faults;
  readonly #closed = Promise.withResolvers<Error | undefined>();
  readonly #calls = new Set<{ fail: (why: unknown) => void }>();
  #end: { readonly why: Error | undefined } | undefined;

  constructor(guest: Guest, faults: Faults) {
    this.closed = this.#closed.promise;
    this.#guest = guest;
    this.#faults = faults;
  }

  get isOpen(): boolean {
    return this.#end === undefined;
  }

  get files(): AgentFiles {
    return new FakeFiles(this.#guest, (name, waiting, effect) => this.#ask(name, waiting, effect));
  }

  get contexts(): AgentContexts {
    return new FakeContexts(this.#guest, (name, waiting, effect) => this.#ask(name, waiting, effect));
  }

  get processes(): AgentProcesses {
    return new FakeProcesses(this.#guest, {
      ask: (name, waiting, effect) => this.#ask(name, waiting, effect),
      open: (name, waiting, run) => this.#open(name, waiting, run),
    });
  }

  /** Ends the session and its calls: `undefined` = left in order. */
  close(why: Error | undefined): void {
    if (this.#end !== undefined) return;
    this.#end = { why };
    const failure = why ?? new InstaVmError("guest_unreachable", "the session was left");
    for (const call of this.#calls) call.fail(failure);
    this.#calls.clear();
    this.#closed.resolve(why);
  }

  async ping(waiting?: Waiting): Promise<{ readonly agentVersion: string }> {
    await this.#ask("agent.ping", waiting, () => {});
    return { agentVersion: "fake" };
  }

  activate(request: ActivateRequest, waiting?: Waiting): Promise<void> {
    return this.#ask("agent.activate", waiting, () => this.#guest.activate(request));
  }

  async stats(waiting?: Waiting): Promise<GuestStats> {
    await this.#ask("agent.stats", waiting, () => {});
    return {
      memoryTotalBytes: 1,
      memoryAvailableBytes: 1,
      diskTotalBytes: 1,
      diskAvailableBytes: 1,
      cpuUserMs: 0,
      cpuSystemMs: 0,
      processCount: 1,
      uptimeMs: 0,
    };
  }

  exec(request: ExecRequest, waiting?: Waiting): ExecCall {
    const program = "argv" in request.command ? (request.command.argv[0] ?? "") : "bash";
    return this.#open<ExecEnded>("agent.exec", waiting, (call) => this.#guest.exec(program, call));
  }

  runCode(request: RunCodeRequest, waiting?: Waiting): OutputCall<CodeEnded> {
    return this.#open<CodeEnded>("agent.runCode", waiting, (call) => this.#guest.runCode(request, call));
  }

  restartContext(_contextId: string, waiting?: Waiting): Promise<void> {
    return this.#ask("agent.restartContext", waiting, () => this.#guest.state.variables.clear());
  }

  interruptContext(_contextId: string, waiting?: Waiting): Promise<void> {
    return this.#ask("agent.interruptContext", waiting, () => {});
  }

  async *readFile(path: string, options?: Waiting): AsyncGenerator<Uint8Array, void, undefined> {
    const content = await this.#ask("agent.readFile", options, () => this.#guest.state.files.get(path));
    if (content === undefined) throw new InstaVmError("file_not_found", `${path} does not exist in the VM`);
    yield content;
  }

  async writeFile(
    path: string,
    content: AsyncIterable<Uint8Array> | Uint8Array,
    options?: Waiting,
  ): Promise<{ readonly path: string; readonly bytes: number }> {
    const chunks: Uint8Array[] = [];
    if (content instanceof Uint8Array) chunks.push(content);
    else for await (const chunk of content) chunks.push(chunk);
    const whole = Buffer.concat(chunks);
    await this.#ask("agent.writeFile", options, () => this.#guest.state.files.set(path, whole));
    return { path, bytes: whole.byteLength };
  }

  async detach(): Promise<void> {
    await this.#faults.call("agent.detach", undefined, () => {}).catch(() => {});
    const isHeard = !this.#guest.faults.isDeaf;
    this.close(isHeard ? undefined : new InstaVmError("guest_unreachable", "the agent did not answer the detach"));
  }

  async #ask<T>(name: string, waiting: Waiting | undefined, effect: () => T): Promise<T> {
    const call = new FakeCall<T>(waiting?.signal);
    this.#track(call);
    const cancel = this.#guest.clock.after(waiting?.timeoutMs ?? defaultTimeoutMs, () =>
      call.fail(new InstaVmError("guest_unreachable", `${name}: the agent did not answer in time`)),
    );
    void this.#serve(name, call, () => call.end(effect()));
    try {
      return await call.ended;
    } finally {
      cancel();
    }
  }

  #open<Ended>(
    name: string,
    waiting: Waiting | undefined,
    run: (call: FakeCall<Ended>) => Promise<void> | void,
  ): FakeCall<Ended> {
    const call = new FakeCall<Ended>(waiting?.signal);
    call.breakSession = (why) => this.close(why);
    this.#track(call);
    void this.#serve(name, call, () => run(call));
    return call;
  }

  #track<Ended>(call: FakeCall<Ended>): void {
    if (this.#end !== undefined) {
      call.fail(this.#end.why ?? new InstaVmError("guest_unreachable", "the session was left"));
      return;
    }
    this.#calls.add(call);
    const forget = (): boolean => this.#calls.delete(call);
    call.ended.then(forget, forget);
  }

  async #serve<Ended>(name: string, call: FakeCall<Ended>, run: () => Promise<void> | void): Promise<void> {
    try {
      await this.#faults.call(name, undefined, async () => {
        if (!this.#guest.faults.isDeaf && !call.isOver) await run();
      });
    } catch (error) {
      call.fail(error);
    }
  }
}
