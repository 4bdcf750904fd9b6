import { InstaVmError } from "@instavm/contract";
import type { AttachOptions, Clock, GuestProcess, ProcessOutputEvent, StartProcessRequest } from "@instavm/core";

const keptBytes = 1024 * 1024;

interface Piece {
  readonly type: "stdout" | "stderr";
  readonly data: Uint8Array;
  readonly offset: number;
}

type End = Pick<NonNullable<GuestProcess["ended"]>, "exitCode" | "signal" | "timedOut">;

/**
 * A process of a pretend VM. Its script is lines of a toy language: `echo text`, `error text` (to stderr), `cat` (stdin
 * to stdout, until it is closed), `sleep ms`, `output bytes`, `exit code`, `forever`; any other does nothing.
 */
export class FakeProcess {
  readonly processId: number;
  readonly #request: StartProcessRequest;
  readonly #clock: Clock;
  readonly #startedAtMs: number;
  readonly #over = Promise.withResolvers<void>();
  readonly #input: Uint8Array[] = [];
  #pieces: Piece[] = [];
  #outputBytes = 0;
  #outputStart = 0;
  #stdinIsOpen: boolean;
  #ended: GuestProcess["ended"];
  #changed = Promise.withResolvers<void>();

  constructor(processId: number, request: StartProcessRequest, clock: Clock) {
    this.processId = processId;
    this.#request = request;
    this.#clock = clock;
    this.#startedAtMs = clock.nowMs();
    this.#stdinIsOpen = request.openStdin ?? false;
  }

  /** Resolves when it has ended. */
  get over(): Promise<void> {
    return this.#over.promise;
  }

  /** Runs it to its end, unless a signal or its time limit ends it before. */
  async run(): Promise<void> {
    const { limitMs } = this.#request;
    const cancel =
      limitMs === undefined
        ? (): void => {}
        : this.#clock.after(limitMs, () => this.#end({ exitCode: 124, signal: 9, timedOut: true }));
    for (const line of this.#lines()) {
      const [verb = "", argument = ""] = splitOnce(line.trim());
      await this.#step(verb, argument);
      if (this.#ended !== undefined) break;
    }
    cancel();
    this.#end({ exitCode: 0, signal: 0, timedOut: false });
  }

  /** Ends it as the signal does. */
  signal(number: number): void {
    this.#end({ exitCode: 128 + number, signal: number, timedOut: false });
  }

  write(data: Uint8Array): void {
    if (!this.#stdinIsOpen) throw new InstaVmError("conflict", `the stdin of process ${this.processId} is closed`);
    this.#input.push(data);
    this.#change();
  }

  closeStdin(): void {
    this.#stdinIsOpen = false;
    this.#change();
  }

  describe(): GuestProcess {
    const { command, tag = "" } = this.#request;
    return {
      processId: this.processId,
      pid: 100 + this.processId,
      tag,
      command: "script" in command ? command.script : command.argv.join(" "),
      startedAtMs: this.#startedAtMs,
      stdinIsOpen: this.#stdinIsOpen,
      outputBytes: this.#outputBytes,
      outputStart: this.#outputStart,
      ended: this.#ended,
    };
  }

  /** Output from an offset on, as long as `isWanted`; looks again at each change and when `stop` settles. */
  async *read(
    { offset: asked = 0, fromEnd = false, follow = true }: AttachOptions,
    wish: { readonly isWanted: () => boolean; readonly stop: Promise<unknown> },
  ): AsyncGenerator<ProcessOutputEvent, void, undefined> {
    let offset = fromEnd ? Math.max(0, this.#outputBytes - asked) : asked;
    const stopAt = follow ? Number.POSITIVE_INFINITY : this.#outputBytes;
    for (let isTold = false; wish.isWanted();) {
      const changed = this.#changed.promise;
      if (!isTold || offset < this.#outputStart) {
        isTold = true;
        const droppedBytes = Math.max(0, this.#outputStart - offset);
        offset += droppedBytes;
        yield { type: "position", offset, droppedBytes };
        continue;
      }
      const at = offset;
      const piece = this.#pieces.find((each) => at < each.offset + each.data.length);
      if (piece !== undefined && at >= piece.offset && at < stopAt) {
        const data = piece.data.subarray(at - piece.offset, Math.min(piece.data.length, stopAt - piece.offset));
        offset += data.length;
        yield { type: piece.type, data };
      } else if (this.#ended !== undefined || at >= stopAt) {
        return;
      } else {
        await Promise.race([changed, wish.stop]);
      }
    }
  }

  #lines(): readonly string[] {
    const { command } = this.#request;
    return "script" in command ? command.script.split(/[\n;]/) : [command.argv.join(" ")];
  }

  async #step(verb: string, argument: string): Promise<void> {
    switch (verb) {
      case "echo":
        return this.#print("stdout", Buffer.from(`${argument}\n`));
      case "error":
        return this.#print("stderr", Buffer.from(`${argument}\n`));
      case "output":
        for (let left = Number(argument); left > 0; left -= 65_536) {
          this.#print("stdout", Buffer.alloc(Math.min(left, 65_536), "x"));
        }
        return undefined;
      case "exit":
        return this.#end({ exitCode: Number(argument), signal: 0, timedOut: false });
      case "cat":
        return this.#copyInput();
      case "sleep":
        return this.#elapse(Number(argument));
      case "forever":
        return this.over;
      default:
        return undefined;
    }
  }

  async #copyInput(): Promise<void> {
    while (this.#ended === undefined) {
      const data = this.#input.shift();
      if (data !== undefined) this.#print("stdout", data);
      else if (!this.#stdinIsOpen) return;
      else await this.#changed.promise;
    }
  }

  async #elapse(ms: number): Promise<void> {
    const elapsed = Promise.withResolvers<void>();
    const cancel = this.#clock.after(ms, elapsed.resolve);
    await Promise.race([elapsed.promise, this.over]);
    cancel();
  }

  #print(type: Piece["type"], data: Uint8Array): void {
    if (this.#ended !== undefined) return;
    this.#pieces.push({ type, data, offset: this.#outputBytes });
    this.#outputBytes += data.length;
    this.#outputStart = Math.max(0, this.#outputBytes - keptBytes);
    this.#pieces = this.#pieces
      .filter((piece) => piece.offset + piece.data.length > this.#outputStart)
      .map((piece) => cutBefore(piece, this.#outputStart));
    this.#change();
  }

  #end(end: End): void {
    if (this.#ended !== undefined) return;
    this.#stdinIsOpen = false;
    this.#ended = {
      ...end,
      truncated: this.#outputStart > 0,
      cpuMs: 1,
      wallMs: this.#clock.nowMs() - this.#startedAtMs,
      outOfMemory: false,
      endedAtMs: this.#clock.nowMs(),
    };
    this.#over.resolve();
    this.#change();
  }

  #change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}

function splitOnce(line: string): readonly string[] {
  const space = line.indexOf(" ");
  return space < 0 ? [line] : [line.slice(0, space), line.slice(space + 1)];
}

function cutBefore(piece: Piece, start: number): Piece {
  if (piece.offset >= start) return piece;
  return { ...piece, offset: start, data: piece.data.subarray(start - piece.offset) };
}
