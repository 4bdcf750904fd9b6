import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { GuestLink } from "@instavm/guest-link";
import { startBenchServer } from "../bench-server.ts";
import type { BenchServer } from "../bench-server.ts";
import { bytesOf } from "../http-client.ts";
import { MemorySeries } from "../memory-series.ts";
import type { Suite } from "../result.ts";
import { createToFirstResult } from "../sandbox.ts";
import { summarise } from "../statistics.ts";

const mib = 1024 * 1024;
const path = "/srv/transferred";

interface Way {
  write(content: AsyncIterable<Uint8Array>): Promise<unknown>;
  read(): Promise<AsyncIterable<Uint8Array>>;
}

/** One large file in and out of a VM: through the server, and over the guest protocol alone. */
export const transfer: Suite = {
  name: "transfer",
  about: "a large file into a VM and back: rate, the server's memory, the same over the guest protocol alone",
  async run(report, { transferMib }) {
    await using server = await startBenchServer({ poolSize: 0, forks: true });
    const { vmId } = await createToFirstResult(server, 1);
    const overHttp = wayOverHttp(server, vmId);
    // Once before, so that the heap has its size.
    await bothWays(overHttp, Math.min(64, transferMib));
    using memory = new MemorySeries(server.pid, 50);
    await new Promise((wake) => setTimeout(wake, 200));
    const before = Math.max(...memory.between(0, Infinity));
    report(`${transferMib} MiB over HTTP …`);
    const http = await bothWays(overHttp, transferMib);
    const peak = Math.max(...memory.between(0, Infinity));
    await server.stop();
    report(`${transferMib} MiB over the guest protocol …`);
    const session = await new GuestLink().connect(join(server.stateDir, "vms", vmId, "agent.sock"), {
      timeoutMs: 10_000,
    });
    const timeoutMs = 3_600_000;
    const alone = await bothWays(
      {
        write: async (content) => session.writeFile(path, content, { timeoutMs }),
        read: async () => session.readFile(path, { timeoutMs }),
      },
      transferMib,
    );
    await session.detach();
    const rate = (ms: number): ReturnType<typeof summarise> => summarise([transferMib / (ms / 1000)]);
    const size = `${transferMib} MiB`;
    return [
      { name: `${size} into a VM over HTTP`, unit: "MiB/s", summary: rate(http.writeMs) },
      { name: `${size} out of it over HTTP`, unit: "MiB/s", summary: rate(http.readMs) },
      { name: `${size} into it over the guest protocol alone`, unit: "MiB/s", summary: rate(alone.writeMs) },
      { name: `${size} out of it over the guest protocol alone`, unit: "MiB/s", summary: rate(alone.readMs) },
      {
        name: `growth of the server's memory meanwhile`,
        unit: "MiB",
        summary: summarise([peak - before]),
        promise: "≤ 64",
      },
    ];
  },
};

function wayOverHttp({ client }: BenchServer, vmId: string): Way {
  const file = `/v1/vms/${vmId}/files?path=${path}`;
  return {
    write: async (content) => bytesOf(await client.open({ method: "PUT", path: file, body: content })),
    read: async () => client.open({ method: "GET", path: file }),
  };
}

/** Writes and reads, and throws unless the same came back. */
async function bothWays(way: Way, sizeMib: number): Promise<{ readonly writeMs: number; readonly readMs: number }> {
  const piece = randomBytes(mib);
  const sent = createHash("sha256");
  const content = async function* (): AsyncGenerator<Uint8Array> {
    for (let index = 0; index < sizeMib; index += 1) {
      piece.writeUInt32LE(index);
      const own = Buffer.from(piece);
      sent.update(own);
      yield own;
    }
  };
  const startedAt = performance.now();
  await way.write(content());
  const writtenAt = performance.now();
  const back = createHash("sha256");
  let bytes = 0;
  for await (const part of await way.read()) {
    back.update(part);
    bytes += part.length;
  }
  const readAt = performance.now();
  if (bytes !== sizeMib * mib || back.digest("hex") !== sent.digest("hex")) {
    throw new Error(`${sizeMib} MiB were written, and ${bytes} bytes that differ came back`);
  }
  return { writeMs: writtenAt - startedAt, readMs: readAt - writtenAt };
}
