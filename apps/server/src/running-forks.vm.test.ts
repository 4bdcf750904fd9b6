import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { countTelling, Telling, verifyBlocks } from "./testing/block-writers.ts";
import { checkFileSystem } from "./testing/file-system-check.ts";
import type { Fork, ForkRoom } from "./testing/fork-room.ts";
import { until } from "./testing/until.ts";
import { openWritingSource } from "./testing/writing-source.ts";

const diskForks = Number(process.env["INSTAVM_FORK_DISKS"] ?? 3);

describe("a VM that writes while it is forked", () => {
  const opened = new AsyncDisposableStack();
  let room: ForkRoom;
  let telling: Telling;
  beforeAll(async () => {
    ({ room, telling } = await openWritingSource(opened));
  });
  afterAll(async () => await opened.disposeAsync());

  /** Every block that was acknowledged is there, and the file system is in order. */
  const expectWholeDisk = async (vm: Fork, atLeast: readonly number[]): Promise<number> => {
    const { checked, acknowledged } = await verifyBlocks(vm);
    expect(acknowledged.every((count, writer) => count >= (atLeast[writer] ?? Number.POSITIVE_INFINITY))).toBe(true);
    const pid = room.pidOf(vm.vmId);
    process.kill(pid, "SIGSTOP");
    expect(await checkFileSystem(join(room.directoryOf(vm.vmId), "disk.raw"))).toBe("");
    process.kill(pid, "SIGCONT");
    return checked;
  };

  test("an open stream goes on to the byte at the source, and is cut in each fork", async () => {
    await using fast = await Telling.open(room.source, 0);
    await fast.more(100);
    expect(await countTelling(room.source)).toBe(2);
    for (let count = 0; count < 4; count += 1) {
      const child = await room.fork(room.source.vmId);
      // A program that lost its reader is ended, with the call that it was.
      await until("the fork's streams are cut", async () => (await countTelling(child)) === 0);
      await child.destroy({ cause: "killed", reason: "it was looked at" });
      await fast.more(500);
    }
    await telling.more(20);
  });

  test(
    `${diskForks} forks in a row have every block that was acknowledged, and sound file systems; so has the source`,
    { timeout: 60_000 * (diskForks + 3) },
    async () => {
      const linesBefore = telling.lines;
      let checked = 0;
      for (let count = 0; count < diskForks; count += 1) {
        await telling.more(20);
        const atLeast = telling.acknowledged;
        const child = await room.fork(room.source.vmId);
        checked += await expectWholeDisk(child, atLeast);
        await child.destroy({ cause: "killed", reason: "it was looked at" });
        await telling.more(20);
      }
      console.info(`${checked} blocks in ${diskForks} forks, ${telling.lines - linesBefore} lines of the stream`);
      expect(checked).toBeGreaterThan(diskForks * 4);
      await expectWholeDisk(room.source, telling.acknowledged);
      await telling.more(20);
    },
  );
});
