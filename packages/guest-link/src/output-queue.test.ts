import { describe, expect, it } from "vitest";
import { OutputQueue } from "./output-queue.ts";

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

describe("the queue of unread output", () => {
  it("joins bytes of one kind in a row and keeps kinds in order", () => {
    const queue = new OutputQueue();
    queue.pushBytes("stdout", bytes(1), 3);
    queue.pushBytes("stdout", bytes(2, 3), 4);
    queue.pushBytes("stderr", bytes(4), 3);
    queue.pushEvent({ type: "started", pid: 7 }, 2);
    queue.pushBytes("stderr", bytes(5), 3);
    expect([queue.shift(), queue.shift(), queue.shift(), queue.shift(), queue.shift()]).toEqual([
      { event: { type: "stdout", data: bytes(1, 2, 3) }, costBytes: 7 },
      { event: { type: "stderr", data: bytes(4) }, costBytes: 3 },
      { event: { type: "started", pid: 7 }, costBytes: 2 },
      { event: { type: "stderr", data: bytes(5) }, costBytes: 3 },
      undefined,
    ]);
    expect(queue.isEmpty).toBe(true);
  });

  it("hands out pieces of at most 64 KiB", () => {
    const queue = new OutputQueue();
    for (let round = 0; round < 3; round += 1) queue.pushBytes("stdout", new Uint8Array(40_000).fill(round), 40_004);
    const sizes = [queue.shift(), queue.shift(), queue.shift()].map((output) =>
      output?.event.type === "stdout" ? output.event.data.length : 0,
    );
    expect(sizes).toEqual([40_000, 40_000, 40_000]);
  });

  it("copies what it takes and gives away what it has: nobody's later writes show", () => {
    const queue = new OutputQueue();
    const source = bytes(1, 2);
    queue.pushBytes("stdout", source, 2);
    source.fill(9);
    const first = queue.shift();
    queue.pushBytes("stdout", bytes(3, 4), 2);
    expect(first?.event).toEqual({ type: "stdout", data: bytes(1, 2) });
    expect(queue.shift()?.event).toEqual({ type: "stdout", data: bytes(3, 4) });
  });

  it("keeps every byte in order through long interleaved use", () => {
    const queue = new OutputQueue();
    const written: string[] = [];
    const read: string[] = [];
    const take = (): void => {
      const event = queue.shift()?.event;
      if (event?.type === "stdout" || event?.type === "stderr") {
        for (const byte of event.data) read.push(`${event.type}${byte}`);
      }
    };
    for (let step = 0; step < 5000; step += 1) {
      const kind = step % 7 < 4 ? "stdout" : "stderr";
      const data = Uint8Array.from({ length: (step * 31) % 50 }, (_, index) => (step + index) & 0xff);
      queue.pushBytes(kind, data, data.length);
      for (const byte of data) written.push(`${kind}${byte}`);
      if (step % 3 === 0) take();
    }
    while (!queue.isEmpty) take();
    expect(read).toEqual(written);
  });
});
