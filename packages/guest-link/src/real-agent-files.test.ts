import { mkdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { GuestLink } from "./agent-link.ts";
import type { LinkedSession } from "./agent-session.ts";
import { type RealAgent, startAgent } from "./testing/real-agent.ts";

const link = new GuestLink({ connectTimeoutMs: 20_000 });
let agent: RealAgent;

beforeAll(async () => {
  agent = await startAgent();
}, 600_000);
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
});

const connect = (): Promise<LinkedSession> => link.connect(agent.socketPath);
const inside = (name: string): string => join(agent.workdir, name);

const collect = async (content: AsyncIterable<Uint8Array>): Promise<Buffer> => {
  const pieces: Uint8Array[] = [];
  for await (const piece of content) pieces.push(piece);
  return Buffer.concat(pieces);
};

describe("files on the real agent", () => {
  it("writes a file whole, with parents and mode, relative to the workdir", async () => {
    await using session = await connect();
    const content = Buffer.from("grüß dich\n");
    const written = await session.writeFile("deep/er/ü.txt", content, { makeParents: true, mode: 0o640 });
    expect(written).toEqual({ path: inside("deep/er/ü.txt"), bytes: content.length });
    expect(await readFile(written.path)).toEqual(content);
    expect((await stat(written.path)).mode & 0o777).toBe(0o640);
  });

  it("streams many megabytes both ways", async () => {
    await using session = await connect();
    const piece = new Uint8Array(1_000_003).map((_, index) => (index * 31) & 0xff);
    const pieces = (async function* all() {
      for (let round = 0; round < 20; round += 1) yield piece;
    })();
    const { bytes } = await session.writeFile(inside("large.bin"), pieces);
    expect(bytes).toBe(20 * piece.length);
    const back = await collect(session.readFile("large.bin"));
    expect(Buffer.compare(back, Buffer.concat(Array.from({ length: 20 }, () => piece)))).toBe(0);
  });

  it("writes and reads an empty file, and a part of one", async () => {
    await using session = await connect();
    expect((await session.writeFile("empty", new Uint8Array(0))).bytes).toBe(0);
    expect(await collect(session.readFile("empty"))).toHaveLength(0);
    await session.writeFile("digits", Buffer.from("0123456789"));
    expect((await collect(session.readFile("digits", { offset: 3, length: 4 }))).toString()).toBe("3456");
    expect(await collect(session.readFile("digits", { offset: 99 }))).toHaveLength(0);
  });

  it("says that a file is missing or a directory", async () => {
    await using session = await connect();
    await mkdir(inside("directory"), { recursive: true });
    await expect(collect(session.readFile("missing"))).rejects.toMatchObject({ code: "file_not_found" });
    await expect(collect(session.readFile("directory"))).rejects.toMatchObject({ code: "invalid" });
    await expect(session.writeFile("no/parents/here", new Uint8Array(1))).rejects.toMatchObject({
      code: "file_not_found",
    });
  });

  it("keeps the old file when the new one is too large or its source fails", async () => {
    await using session = await connect();
    await writeFile(inside("kept"), "old");
    const large = session.writeFile("kept", new Uint8Array(2_000_000), { limitBytes: 1_000_000 });
    await expect(large).rejects.toMatchObject({ code: "too_large" });
    const failing = (async function* failing() {
      yield new Uint8Array(100);
      throw new RangeError("the upload broke");
    })();
    await expect(session.writeFile("kept", failing)).rejects.toThrow("the upload broke");
    expect(await readFile(inside("kept"), "utf8")).toBe("old");
  });

  it("stops reading when the reader leaves", async () => {
    await using session = await connect();
    await writeFile(inside("sparse"), "");
    await truncate(inside("sparse"), 1_000_000_000);
    let bytes = 0;
    for await (const piece of session.readFile("sparse")) {
      bytes += piece.length;
      if (bytes > 1_000_000) break;
    }
    expect(bytes).toBeLessThan(2_000_000);
    await expect(session.ping()).resolves.toHaveProperty("agentVersion");
  });
});
