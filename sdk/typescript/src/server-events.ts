/** One event of a `text/event-stream` answer. */
export interface ServerEvent {
  /** `message` when the server names none. */
  readonly event: string;
  readonly data: string;
  readonly id: string | undefined;
}

/**
 * Reads events one by one, no faster than they are taken; an event that the end of the stream cuts is dropped, as the format says.
 * Comments, which servers send to keep a connection open, are no events.
 */
export async function* serverEvents(bytes: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent, void, undefined> {
  let pending = new PendingEvent();
  for await (const line of lines(bytes)) {
    if (line !== "") {
      pending.add(line);
      continue;
    }
    const event = pending.take();
    pending = new PendingEvent();
    if (event !== undefined) yield event;
  }
}

class PendingEvent {
  #event = "message";
  #id: string | undefined;
  readonly #data: string[] = [];

  add(line: string): void {
    const colon = line.indexOf(":");
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.#event = value;
    if (name === "id") this.#id = value;
    if (name === "data") this.#data.push(value);
  }

  /** Undefined for an event without data. */
  take(): ServerEvent | undefined {
    if (this.#data.length === 0) return undefined;
    return { event: this.#event, data: this.#data.join("\n"), id: this.#id };
  }
}

/** Lines end in LF, CR LF or CR. A CR at the end of a chunk waits for the next one, which may begin with its LF. */
async function* lines(bytes: ReadableStream<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder();
  let held: string[] = [];
  let carriage = "";
  for await (const chunk of chunksOf(bytes)) {
    const text = carriage + decoder.decode(chunk, { stream: true });
    carriage = text.endsWith("\r") ? "\r" : "";
    const [first = "", ...others] = text.slice(0, text.length - carriage.length).split(/\r\n|\n|\r/);
    held.push(first);
    const last = others.pop();
    if (last === undefined) continue;
    yield held.join("");
    yield* others;
    held = [last];
  }
}

/** The pieces of a stream. Leaving the loop early cancels it, which ends the request. */
export async function* chunksOf(bytes: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = bytes.getReader();
  let ended = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      ended = done;
      if (done) return;
      yield value;
    }
  } finally {
    if (!ended) await reader.cancel().catch(() => undefined);
    reader.releaseLock();
  }
}
