import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, rename, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { FileEvent } from "@instavm/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { GuestLink } from "./agent-link.ts";
import type { LinkedSession } from "./agent-session.ts";
import { type RealAgent, startAgent } from "./testing/real-agent.ts";

const link = new GuestLink({ connectTimeoutMs: 20_000 });
const run = promisify(execFile);
let agent: RealAgent;

beforeAll(async () => {
  agent = await startAgent();
}, 600_000);
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
});

const connect = (): Promise<LinkedSession> => link.connect(agent.socketPath);
const inside = (name: string): string => join(agent.workdir, name);

const residentMib = async (pid: number): Promise<number> => {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
};

const collect = async (content: AsyncIterable<Uint8Array>): Promise<Buffer> => {
  const pieces: Uint8Array[] = [];
  for await (const piece of content) pieces.push(piece);
  return Buffer.concat(pieces);
};

describe("trees on the real agent", () => {
  it("go out and come in again, unusual names and many megabytes included", async () => {
    await using session = await connect();
    await mkdir(inside("source/deep"), { recursive: true });
    const large = Buffer.alloc(5_000_000, 7);
    await writeFile(inside("source/deep/large"), large);
    for (const name of ["-rf", "new\nline", "größe 🙂", "x".repeat(200)])
      await writeFile(join(inside("source"), name), name);
    const archive = await collect(session.files.readTree("source"));
    await writeFile(inside("archive.tar"), archive);
    await mkdir(inside("by-tar"));
    await run("tar", ["-xf", inside("archive.tar"), "-C", inside("by-tar")]);
    const pieces = session.files.readTree("source");
    const done = await session.files.writeTree("copy/of/it", pieces, { makeParents: true });
    expect(done).toEqual({ bytes: expect.any(Number), entries: 6, skipped: 0 });
    for (const copy of ["by-tar", "copy/of/it"]) {
      expect((await readdir(inside(copy))).sort()).toEqual((await readdir(inside("source"))).sort());
      expect(Buffer.compare(await readFile(join(inside(copy), "deep/large")), large)).toBe(0);
    }
  });

  it("stream through the agent in constant memory, both ways at once", async () => {
    await using session = await connect();
    await mkdir(inside("huge"));
    await writeFile(inside("huge/sparse"), "");
    await truncate(inside("huge/sparse"), 200_000_000);
    const before = await residentMib(agent.pid);
    const done = await session.files.writeTree("huge-copy", session.files.readTree("huge"), { makeParents: true });
    expect(done.bytes).toBe(200_000_000);
    expect((await residentMib(agent.pid)) - before).toBeLessThan(16);
    expect(await session.files.remove("huge-copy", { recursive: true })).toBe(2);
  }, 90_000);

  it("refuse an archive that leaves its directory, that is cut, or that is too large", async () => {
    await using session = await connect();
    await mkdir(inside("evil"));
    await writeFile(inside("victim"), "kept");
    await run("tar", [
      "-cPf",
      inside("evil.tar"),
      "-C",
      inside("evil"),
      "--transform",
      "s,.*,../victim2,",
      "../victim",
    ]);
    const evil = await readFile(inside("evil.tar"));
    await expect(session.files.writeTree("evil", evil)).rejects.toMatchObject({ code: "invalid" });
    await expect(session.files.writeTree("evil", evil.subarray(0, 700))).rejects.toMatchObject({ code: "invalid" });
    const archive = await collect(session.files.readTree("victim"));
    await expect(session.files.writeTree("evil", archive, { limitBytes: 3 })).rejects.toMatchObject({
      code: "too_large",
    });
    await expect(session.files.writeTree("missing", archive)).rejects.toMatchObject({ code: "file_not_found" });
    await expect(collect(session.files.readTree("missing"))).rejects.toMatchObject({ code: "file_not_found" });
    expect(await readdir(inside("evil"))).toEqual([]);
  });
});

describe("watches on the real agent", () => {
  it("tell what happens from the moment in which they are ready", async () => {
    await using session = await connect();
    await mkdir(inside("watched"));
    const seen: FileEvent[] = [];
    for await (const event of session.files.watch("watched", { recursive: true, timeoutMs: 60_000 })) {
      seen.push(event);
      if (event.type === "ready") {
        await mkdir(inside("watched/a"));
        await writeFile(inside("watched/a/file"), "x");
      }
      if (event.type === "created" && event.path === "a/file")
        await rename(inside("watched/a/file"), inside("watched/moved"));
      if (event.type === "moved") await rm(inside("watched/moved"));
      if (event.type === "removed") break;
    }
    expect(seen[0]).toEqual({ type: "ready" });
    expect(seen).toContainEqual({ type: "created", path: "a", rawPath: undefined, isDirectory: true });
    expect(seen).toContainEqual({
      type: "moved",
      path: "moved",
      rawPath: undefined,
      fromPath: "a/file",
      rawFromPath: undefined,
      isDirectory: false,
    });
    expect(seen.at(-1)).toMatchObject({ type: "removed", path: "moved" });
    await expect(session.ping()).resolves.toHaveProperty("agentVersion");
  });

  it("are refused for what is missing, and for more directories than one watch takes", async () => {
    await using session = await connect();
    const first = async (path: string): Promise<unknown> => {
      for await (const event of session.files.watch(path, { recursive: true, timeoutMs: 60_000 })) return event;
      return undefined;
    };
    await expect(first("missing")).rejects.toMatchObject({ code: "file_not_found" });
    await run("bash", ["-c", `mkdir -p ${inside("many")} && cd ${inside("many")} && seq 4200 | xargs mkdir`]);
    await expect(first("many")).rejects.toMatchObject({ code: "limit_exceeded" });
  });

  it("end with what they watch", async () => {
    await using session = await connect();
    await mkdir(inside("short"));
    const types: string[] = [];
    for await (const event of session.files.watch("short", { timeoutMs: 60_000 })) {
      types.push(event.type);
      if (event.type === "ready") await rm(inside("short"), { recursive: true });
    }
    expect(types).toEqual(["ready", "removed"]);
  });
});
