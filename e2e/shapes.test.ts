import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { OwnCache } from "./support/own-cache.ts";
import { RealServer } from "./support/real-server.ts";

let server: RealServer;

beforeAll(async () => {
  server = await RealServer.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const look =
  "nproc; awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo; python3 -c 'import os; print(os.cpu_count())'";

test.each([
  [1, 128],
  [2, 512],
  [4, 2048],
  [6, 333],
  [8, 8192],
] as const)("%i vCPUs and %i MiB are what the guest sees", async (vcpuCount, memoryMib) => {
  const { sessionId } = await server.client.createSession({ vcpuCount, memoryMib });
  try {
    const { stdout } = await server.client.execute(sessionId, look, { language: "bash" });
    const [cpus, memory, inPython] = stdout.trim().split("\n").map(Number);
    expect([cpus, inPython]).toEqual([vcpuCount, vcpuCount]);
    expect(memory).toBeLessThanOrEqual(memoryMib);
    expect(memory).toBeGreaterThan(memoryMib * 0.9 - 48);
    expect(await server.client.getSession(sessionId)).toMatchObject({ vcpuCount, memoryMib });
    expect(await server.client.execute(sessionId, "print(sum(range(1000)))")).toMatchObject({ stdout: "499500\n" });
  } finally {
    await server.client.kill(sessionId);
  }
});

test("all of a large memory can be used", async () => {
  const { sessionId } = await server.client.createSession({ vcpuCount: 4, memoryMib: 2048 });
  const used = await server.client.execute(
    sessionId,
    "block = bytearray(1500 << 20)\nfor at in range(0, len(block), 4096): block[at] = 1\nprint(len(block) >> 20)",
    { timeoutS: 120 },
  );
  expect(used).toMatchObject({ stdout: "1500\n", outOfMemory: false });
  await server.client.kill(sessionId);
});

test.each([
  ["vcpu_count", 0],
  ["vcpu_count", 3],
  ["vcpu_count", 16],
  ["vcpu_count", "2"],
  ["vcpu_count", 1.5],
  ["memory_mb", 64],
  ["memory_mb", 127],
  ["memory_mb", 8193],
  ["memory_mb", -512],
  ["memory_mb", 512.5],
])("%s = %j is refused, the field named", async (field, value) => {
  const answer = await fetch(`${server.baseUrl}/v1/sessions/session`, {
    method: "POST",
    headers: { "x-api-key": server.apiKey, "content-type": "application/json" },
    body: JSON.stringify({ [field]: value }),
  });
  expect(answer.status).toBe(422);
  expect(await answer.json()).toMatchObject({ code: "invalid", errors: [{ loc: ["body", field] }] });
});

test("the environment of a session is seen in Python and in Bash", async () => {
  const env = { WHO: "clone", EMPTY: "", TEXT: "a b 'c' $d\nä" };
  const { sessionId, start } = await server.client.createSession({ env });
  expect(start).toBe("clone");
  const python = await server.client.execute(
    sessionId,
    "import os; print([os.environ.get(name) for name in ('WHO', 'EMPTY', 'TEXT')])",
  );
  expect(python.stdout).toBe(`['clone', '', "a b 'c' $d\\nä"]\n`);
  const bash = await server.client.execute(sessionId, 'echo "$WHO ${EMPTY-unset} $TEXT"', { language: "bash" });
  expect(bash.stdout).toBe("clone  a b 'c' $d\nä\n");
  expect((await server.client.execute(sessionId, "!echo $WHO")).stdout).toBe("clone\n");
  await server.client.kill(sessionId);
});

test("first creates of one shape at the same time build one template", async () => {
  using cache = new OwnCache();
  await using fresh = await RealServer.start({ flags: ["--cache-dir", cache.directory] });
  const shape = { vcpuCount: 1, memoryMib: 128 } as const;
  const sessions = await Promise.all([1, 2, 3, 4, 5].map(async () => await fresh.client.createSession(shape)));
  expect(new Set(sessions.map(({ vmId }) => vmId)).size).toBe(5);
  expect(cache.templates()).toHaveLength(1);
  expect(fresh.log.match(/template\.built/g)).toHaveLength(1);
  const [name = ""] = cache.templates();
  expect(readFileSync(join(cache.directory, "templates", name, "manifest.json"), "utf8")).toContain('"memoryMib": 128');
});

test("two servers that share a cache and build the same template both serve", async () => {
  using cache = new OwnCache();
  const flags = ["--cache-dir", cache.directory];
  await using one = await RealServer.start({ flags });
  const shape = { vcpuCount: 1, memoryMib: 128 } as const;
  const first = one.client.createSession(shape);
  await using two = await RealServer.start({ flags });
  const [a, b] = await Promise.all([first, two.client.createSession(shape)]);
  expect(await one.client.execute(a.sessionId, "print('one')")).toMatchObject({ stdout: "one\n" });
  expect(await two.client.execute(b.sessionId, "print('two')")).toMatchObject({ stdout: "two\n" });
  expect(cache.templates()).toHaveLength(1);
});
