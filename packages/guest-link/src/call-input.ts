import { type GuestStream, readerLeftError } from "./guest-stream.ts";

/** Code that did not fit into the request. When the call ends first, its outcome says why. */
export function sendRest(stream: GuestStream, rest: Uint8Array): void {
  stream.sendData(rest).then(
    () => stream.endData(),
    () => {},
  );
}

/**
 * Sends what there is until the guest has an outcome, which ends the wait for a source that is stuck, too. When the
 * source itself fails, the guest is told to drop what it got and the source's error is thrown.
 */
export async function sendContent(stream: GuestStream, content: AsyncIterable<Uint8Array> | Uint8Array): Promise<void> {
  try {
    if (content instanceof Uint8Array) await stream.sendData(content);
    else await sendPieces(stream, content[Symbol.asyncIterator]());
    stream.endData();
  } catch (error) {
    if (stream.isSettled) return;
    stream.cancel(error instanceof Error ? error : readerLeftError("write file"));
    throw error;
  }
}

async function sendPieces(stream: GuestStream, source: AsyncIterator<Uint8Array>): Promise<void> {
  let interrupt = (): void => {};
  const settled = (): void => interrupt();
  stream.outcome.then(settled, settled);
  for (;;) {
    const { promise, resolve, reject } = Promise.withResolvers<IteratorResult<Uint8Array> | undefined>();
    interrupt = () => resolve(undefined);
    if (stream.isSettled) interrupt();
    else source.next().then(resolve, reject);
    const next = await promise;
    if (next === undefined) return leave(source);
    if (next.done === true) return;
    try {
      await stream.sendData(next.value);
    } catch (error) {
      leave(source);
      throw error;
    }
  }
}

/** A source that is stuck answers later, or never. */
function leave(source: AsyncIterator<Uint8Array>): void {
  source.return?.().catch(() => {});
}
