import { startWriters, Telling } from "./block-writers.ts";
import { type ForkRoom, openForkRoom } from "./fork-room.ts";

/** A host whose VM writes blocks and tells of it all the time. */
export interface WritingSource {
  readonly room: ForkRoom;
  readonly telling: Telling;
}

/** Opens it on a stack, which closes it. Resolves when it has told a while. */
export async function openWritingSource(opened: AsyncDisposableStack): Promise<WritingSource> {
  const room = opened.use(await openForkRoom());
  await startWriters(room.source);
  const telling = opened.use(await Telling.open(room.source, 0.004));
  await telling.more(100);
  return { room, telling };
}
