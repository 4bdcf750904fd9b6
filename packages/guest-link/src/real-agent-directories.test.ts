import { mkdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
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

const collect = async (content: AsyncIterable<Uint8Array>): Promise<string> => {
  const pieces: Uint8Array[] = [];
  for await (const piece of content) pieces.push(piece);
  return Buffer.concat(pieces).toString();
};

describe("directories on the real agent", () => {
  it("are listed page by page, with unusual names as they are", async () => {
    await using session = await connect();
    const names = ["-rf", " space", "new\nline", "ü漢🙂", "z"];
    await mkdir(inside("listed"));
    for (const name of names) await writeFile(join(inside("listed"), name), name);
    const raw = Uint8Array.of(0x71, 0xff);
    await session.files.write(Buffer.concat([Buffer.from("listed/"), raw]), Buffer.from("raw"));
    const seen = [];
    let after: string | Uint8Array | undefined;
    for (;;) {
      const page = await session.files.list("listed", { limit: 2, ...(after === undefined ? {} : { after }) });
      seen.push(...page.entries);
      const last = page.entries.at(-1);
      if (!page.hasMore || last === undefined) break;
      after = last.rawName ?? last.name;
    }
    const sorted = [...names, "q\u{fffd}"].sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
    expect(seen.map((entry) => entry.name)).toEqual(sorted);
    expect(seen.find((entry) => entry.rawName !== undefined)?.rawName).toEqual(raw);
    const opened = await session.files.read(Buffer.concat([Buffer.from("listed/"), raw]));
    expect(await collect(opened.content)).toBe("raw");
  });

  it("hold entries with type, size, mode, owner, time and target", async () => {
    await using session = await connect();
    await writeFile(inside("described"), "12345", { mode: 0o640 });
    await symlink("described", inside("to-described"));
    const { mtimeMs, uid, gid } = await stat(inside("described"));
    const entry = await session.files.stat("described");
    expect(entry).toMatchObject({ name: "described", type: "file", sizeBytes: 5, mode: 0o640, uid, gid });
    expect(Math.abs(entry.modifiedMs - mtimeMs)).toBeLessThan(1);
    expect(await session.files.stat("to-described")).toMatchObject({ type: "symlink", linkTarget: "described" });
    expect(await session.files.stat("to-described", { follow: true })).toMatchObject({ type: "file", sizeBytes: 5 });
    expect(await session.files.stat("/")).toMatchObject({ name: "/", type: "directory", user: "root" });
  });

  it("are made, moved, changed and removed", async () => {
    await using session = await connect();
    expect(await session.files.makeDirectory("made/deep", { makeParents: true, mode: 0o700 })).toMatchObject({
      type: "directory",
      mode: 0o700,
    });
    await expect(session.files.makeDirectory("made/deep")).rejects.toMatchObject({ code: "conflict" });
    await session.files.write("made/file", Buffer.from("x"), { mustBeNew: true });
    await expect(session.files.write("made/file", Buffer.from("y"), { mustBeNew: true })).rejects.toMatchObject({
      code: "conflict",
    });
    expect(await session.files.move("made/file", "made/deep/moved")).toMatchObject({ name: "moved" });
    expect(await session.files.change("made/deep/moved", { mode: 0o600 })).toMatchObject({ mode: 0o600 });
    await expect(session.files.change("made", {})).rejects.toMatchObject({ code: "invalid" });
    await expect(session.files.remove("made")).rejects.toMatchObject({ code: "conflict" });
    expect(await session.files.remove("made", { recursive: true })).toBe(3);
    await expect(session.files.stat("made")).rejects.toMatchObject({ code: "file_not_found" });
  });

  it("give a file's size before its content, and a part of it", async () => {
    await using session = await connect();
    await writeFile(inside("digits"), "0123456789");
    const opened = await session.files.read("digits", { offset: 2, length: 3 });
    expect(opened.entry.sizeBytes).toBe(10);
    expect(await collect(opened.content)).toBe("234");
    for (const arrives of [false, true]) {
      const unwanted = await session.files.read("digits");
      // Behind the answer to another call all of the content is here.
      if (arrives) await session.files.stat("digits");
      unwanted.cancel();
      await expect(collect(unwanted.content)).rejects.toMatchObject({ code: "cancelled" });
    }
    await expect(session.files.read("missing")).rejects.toMatchObject({ code: "file_not_found" });
    expect(await readFile(inside("digits"), "utf8")).toBe("0123456789");
  });

  it("refuse paths that no file can have, before the guest sees them", async () => {
    await using session = await connect();
    for (const path of ["", "a\0b", "x".repeat(4096), "half \u{d800}", Uint8Array.of(0x61, 0)]) {
      await expect(session.files.stat(path)).rejects.toMatchObject({ code: "invalid" });
    }
    await expect(session.files.list(".", { limit: 0 })).rejects.toMatchObject({ code: "invalid" });
    await expect(session.files.list(".", { limit: 1001 })).rejects.toMatchObject({ code: "invalid" });
  });
});
