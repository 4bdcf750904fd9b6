import { readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { OwnCache } from "./support/own-cache.ts";
import { RealServer } from "./support/real-server.ts";

const small = { vcpuCount: 1, memoryMib: 128 } as const;
const buildsMs = 300_000;

let cache: OwnCache;
let server: RealServer;

beforeAll(async () => {
  cache = new OwnCache();
  server = await RealServer.start({ flags: ["--cache-dir", cache.directory] });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  cache[Symbol.dispose]();
});

/** A build takes this machine's time; clients wait for it. */
async function create(): Promise<string> {
  const { sessionId } = await server.client.createSession({ ...small, timeoutMs: buildsMs });
  return sessionId;
}

/** The directory of the one template. */
function template(): string {
  const [name = "", ...others] = cache.templates();
  expect(others).toEqual([]);
  return join(cache.templatesDirectory, name);
}

function builds(): number {
  return server.log.match(/template\.built/g)?.length ?? 0;
}

async function expectOneMoreBuild(damage: () => Promise<void>): Promise<void> {
  if (cache.templates().length === 0) await create();
  const before = builds();
  await damage();
  const sessionId = await create();
  expect(await server.client.execute(sessionId, "print(6 * 7)")).toMatchObject({ stdout: "42\n" });
  expect(builds()).toBe(before + 1);
  expect(readFileSync(join(template(), "manifest.json"), "utf8")).toContain('"memoryMib": 128');
  expect(statSync(join(template(), "mem")).size).toBe(128 << 20);
}

test(
  "what a killed server had half-built is cleared away",
  async () => {
    const lost = expect(create()).rejects.toThrow();
    await expect.poll(() => cache.templates(), { timeout: 60_000 }).toEqual([expect.stringMatching(/^\.draft-/)]);
    await server.crash();
    await lost;
    expect(cache.templates()).toEqual([expect.stringMatching(/^\.draft-/)]);
    await server.startAgain();
    expect(cache.templates()).toEqual([]);
    expect(server.vmPids()).toEqual([]);
  },
  buildsMs,
);

test(
  "a whole template is used by the next server",
  async () => {
    await create();
    const before = builds();
    await server.stop();
    await server.startAgain();
    expect(await server.client.execute(await create(), "print(6 * 7)")).toMatchObject({ stdout: "42\n" });
    expect(builds()).toBe(before);
  },
  buildsMs,
);

const damages: readonly (readonly [string, (path: string) => void])[] = [
  ["a damaged manifest", (path) => writeFileSync(join(path, "manifest.json"), "{ half")],
  ["no memory", (path) => rmSync(join(path, "mem"))],
  ["half its memory", (path) => truncateSync(join(path, "mem"), 64 << 20)],
];

test.each(damages)(
  "a template with %s is built anew by the next server",
  async (_, damage) => {
    await expectOneMoreBuild(async () => {
      await server.stop();
      damage(template());
      await server.startAgain();
    });
  },
  buildsMs,
);

test(
  "a template that vanishes under a running server is built anew, and the VMs cloned from it live on",
  async () => {
    const earlier = await create();
    await server.client.execute(earlier, "x = 1");
    await expectOneMoreBuild(async () => rmSync(join(template(), "mem")));
    expect(await server.client.execute(earlier, "print(x)")).toMatchObject({ stdout: "1\n" });
  },
  buildsMs,
);
