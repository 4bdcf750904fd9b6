import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "./support/agreement.ts";
import { RealServer } from "./support/real-server.ts";
import { TestSession } from "./support/test-session.ts";

/** Uses every vCPU at once, and says what came of it and how many there are. */
const busyOnAll = `
import hashlib, os, subprocess
from concurrent.futures import ThreadPoolExecutor
count = os.cpu_count()
with ThreadPoolExecutor(count) as pool:
    lengths = list(pool.map(lambda n: len(subprocess.check_output(["sh", "-c", "head -c 200000 /dev/urandom | sha256sum"])), range(2 * count)))
print(count, set(lengths), hashlib.sha256(b"x" * 1_000_000).hexdigest()[:8])`;

describe("forks of VMs of other shapes", () => {
  let server: RealServer;
  beforeAll(async () => {
    server = await RealServer.start({ zygoteMemoryMib: 1536 });
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
  });

  test.each([1, 2, 4] as const)("a VM with %i vCPUs forks, and each copy uses all of them", async (vcpuCount) => {
    const zygotes = (): Promise<number> => server.metric("instavm_zygotes_ready");
    const before = await zygotes();
    await (await TestSession.open(server, { vcpuCount }))[Symbol.asyncDispose]();
    await until("there is a zygote", async () => (await zygotes()) > before, 170_000);
    await using first = await TestSession.open(server, { vcpuCount });
    await using second = await TestSession.open(server, { vcpuCount });
    expect([first.start, second.start]).toEqual(["fork", "fork"]);
    const answers = await Promise.all([first, second].map((fork) => fork.python(busyOnAll, { timeoutS: 120 })));
    const answer = { stdout: `${String(vcpuCount)} {68} 1b977e9f\n`, exitCode: 0 };
    expect(answers).toEqual([expect.objectContaining(answer), expect.objectContaining(answer)]);
  });
});
