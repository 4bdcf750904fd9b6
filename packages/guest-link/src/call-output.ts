import { InstaVmError } from "@instavm/contract";
import type { ExecCall, ExecEnded, OutputCall, OutputEvent } from "@instavm/core";
import { DisplayAssembly } from "./display-assembly.ts";
import { guestProtocolError } from "./link-errors.ts";
import { type GuestStream, readerLeftError } from "./guest-stream.ts";
import type { StreamEvent } from "./output-queue.ts";

/** What a call is made of. */
export interface CallParts<Ended> {
  /** For messages: the call's name. */
  readonly subject: string;
  readonly stream: GuestStream;
  readonly ended: Promise<Ended>;
}

/** A stream as the events of one call. Iterated once. */
export class CallOutput<Ended> implements OutputCall<Ended> {
  readonly ended: Promise<Ended>;
  protected readonly stream: GuestStream;
  protected readonly subject: string;
  readonly #displays = new DisplayAssembly();
  #isIterated = false;

  constructor(parts: CallParts<Ended>) {
    this.subject = parts.subject;
    this.stream = parts.stream;
    this.ended = parts.ended;
    // A caller that leaves its loop by an exception has no use for this failure.
    this.ended.catch(() => {});
  }

  [Symbol.asyncIterator](): AsyncIterator<OutputEvent, undefined> {
    if (this.#isIterated) throw new InstaVmError("internal", `${this.subject}: its output can be read only once.`);
    this.#isIterated = true;
    return {
      next: () => this.#next(),
      return: () => {
        this.stream.cancel(readerLeftError(this.subject));
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }

  async #next(): Promise<IteratorResult<OutputEvent, undefined>> {
    for (let output = await this.stream.read(); output !== undefined; output = await this.stream.read()) {
      const value = this.#eventOf(output.event);
      if (value !== undefined) return { done: false, value };
    }
    await this.ended;
    return { done: true, value: undefined };
  }

  /** Undefined for a piece of a display that is not complete. */
  #eventOf(event: StreamEvent): OutputEvent | undefined {
    const { type } = event;
    if (type === "displayPiece") return this.#displays.take(event);
    if (type === "started" || type === "stdout" || type === "stderr" || type === "display") return event;
    throw guestProtocolError(`${type} in the output of ${this.subject}`);
  }
}

/** A process whose stdin may be open. */
export class ExecOutput extends CallOutput<ExecEnded> implements ExecCall {
  readonly #hasStdin: boolean;

  constructor(parts: CallParts<ExecEnded> & { readonly hasStdin: boolean }) {
    super(parts);
    this.#hasStdin = parts.hasStdin;
  }

  async write(data: Uint8Array): Promise<void> {
    if (!this.#hasStdin || this.stream.isInputEnded) {
      throw new InstaVmError("conflict", `${this.subject}: its stdin is closed.`, {
        next: "Ask for open stdin, and write before closing it.",
      });
    }
    await this.stream.sendData(data);
  }

  closeStdin(): void {
    if (this.#hasStdin) this.stream.endData();
  }

  signal(signal: number): void {
    if (!Number.isInteger(signal) || signal < 1 || signal > 64) {
      throw new InstaVmError("invalid", `${this.subject}: signal ${signal}; expected 1 to 64.`);
    }
    // Settles when sent; never rejects once the number is right.
    void this.stream.sendSignal(signal);
  }
}
