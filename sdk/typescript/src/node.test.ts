import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { downloadDirectory, uploadDirectory } from "./node.ts";
import { joined, paddingBytes } from "./tar-format.ts";
import { tarEnd, tarHeader } from "./tar-write.ts";
import { ScriptedServer, sendError, sendJson } from "./testing/scripted-server.ts";

const vmId = "q7v2kd0w9x3m1zr8tj5c";
const encoder = new TextEncoder();
let here: string;

beforeEach(() => {
  here = mkdtempSync(join(tmpdir(), "instavm-node-"));
});
afterEach(() => {
  rmSync(here, { recursive: true });
});

describe("a directory that goes in", () => {
  test("is one archive of all that is in it", async () => {
    const source = join(here, "source");
    mkdirSync(join(source, "sub", "empty"), { recursive: true });
    writeFileSync(join(source, "sub", "-ü \n.txt"), "text");
    writeFileSync(join(source, "big"), Buffer.alloc(700_000, 7));
    chmodSync(join(source, "big"), 0o750);
    symlinkSync("sub/none", join(source, "link"));
    execFileSync("mkfifo", [join(source, "pipe")]);
    const notUtf8 = Buffer.concat([Buffer.from(`${source}/`), Buffer.from([0xff, 0x41])]);
    writeFileSync(notUtf8, "odd");
    await using server = await ScriptedServer.start((_, response) =>
      sendJson(response, { size: 700_007, entries: 6, skipped: 0 }),
    );
    const progress: number[] = [];
    const onProgress = (bytes: number): void => void progress.push(bytes);
    const files = server.client.vms.files(vmId);
    const written = await uploadDirectory(files, { from: source, to: "/app/x" }, { user: "root", onProgress });
    expect(written).toEqual({ sizeBytes: 700_007, entries: 6, skipped: 1 });
    expect(progress.at(-1)).toBe(700_007);
    expect(server.received[0]).toMatchObject({
      method: "PUT",
      path: `/v1/vms/${vmId}/files/tar?path=%2Fapp%2Fx&user=root`,
    });
    const unpacked = join(here, "unpacked");
    mkdirSync(unpacked);
    execFileSync("tar", ["-xpf", "-", "-C", unpacked], { input: server.received[0]?.body });
    execFileSync("diff", ["-r", "--no-dereference", "--exclude=pipe", source, unpacked]);
    expect(statSync(join(unpacked, "big")).mode & 0o777).toBe(0o750);
    expect(readdirSync(join(unpacked, "sub", "empty"))).toEqual([]);
  });

  test("is not sent when it cannot be read", async () => {
    await using server = await ScriptedServer.start((_, response) => sendJson(response, {}));
    const files = server.client.vms.files(vmId);
    for (const [name, why] of [
      ["none", "ENOENT"],
      ["file", "it is no directory"],
    ] as const) {
      writeFileSync(join(here, "file"), "");
      await expect(uploadDirectory(files, { from: join(here, name), to: "x" })).rejects.toMatchObject({
        code: "bad_request",
        message: expect.stringContaining(why),
      });
    }
    expect(server.received).toEqual([]);
  });

  test("that was refused says what the server said", async () => {
    await using server = await ScriptedServer.start((_, response) => sendError(response, 409, "conflict"));
    const uploading = uploadDirectory(server.client.vms.files(vmId), { from: here, to: "x" });
    await expect(uploading).rejects.toMatchObject({ code: "conflict" });
  });
});

const entry = {
  name: "x",
  raw_name: null,
  type: "directory",
  size: 0,
  mode: "0755",
  uid: 0,
  gid: 0,
  user: "root",
  group: "root",
  modified_at: "2026-01-02T03:04:05Z",
  link_target: null,
};

type Made = { readonly kind?: "file" | "directory" | "symlink"; readonly text?: string; readonly mode?: number };

function archive(entries: Readonly<Record<string, Made>>): Uint8Array {
  const parts = Object.entries(entries).map(([name, { kind = "file", text = "", mode = 0o644 }]) => {
    const content = encoder.encode(kind === "file" ? text : "");
    const about = { name: encoder.encode(name), kind, mode, modifiedS: 1_000_000, sizeBytes: content.length };
    const link = encoder.encode(kind === "symlink" ? text : "");
    return joined(tarHeader({ ...about, link }), content, new Uint8Array(paddingBytes(content.length)));
  });
  return joined(...parts, tarEnd());
}

/** A VM with a directory whose archive this is. */
async function vmWith(bytes: Uint8Array): Promise<ScriptedServer> {
  return await ScriptedServer.start(({ path }, response) => {
    if (path.includes("/files/stat")) sendJson(response, entry);
    else response.end(bytes);
  });
}

async function download(bytes: Uint8Array) {
  await using server = await vmWith(bytes);
  return await downloadDirectory(server.client.vms.files(vmId), { from: "/app/x", to: join(here, "out") });
}

describe("a directory that comes out", () => {
  test("has its files, directories, modes, times and inner links", async () => {
    const done = await download(
      archive({
        "sub/": { kind: "directory", mode: 0o500 },
        "sub/-ü \n.txt": { text: "text", mode: 0o4755 },
        "deep/er/file": { text: "x".repeat(300_000) },
        "sub/link": { kind: "symlink", text: "../deep/er" },
      }),
    );
    expect(done).toEqual({ sizeBytes: 300_004, entries: 4, skipped: 0 });
    const out = join(here, "out");
    expect(readFileSync(join(out, "sub/-ü \n.txt"), "utf8")).toBe("text");
    const { mode, mtimeMs } = statSync(join(out, "sub/-ü \n.txt"));
    expect([mode & 0o7777, mtimeMs]).toEqual([0o755, 1e9]);
    expect(statSync(join(out, "sub/link/file")).size).toBe(300_000);
    expect(readdirSync(join(out, "sub"))).toEqual(["-ü \n.txt", "link"]);
  });

  test("replaces what is there, a link by itself", async () => {
    mkdirSync(join(here, "out"));
    writeFileSync(join(here, "outside"), "kept");
    symlinkSync("../outside", join(here, "out/a"));
    await download(archive({ a: { text: "new" } }));
    expect(readFileSync(join(here, "out/a"), "utf8")).toBe("new");
    expect(readFileSync(join(here, "outside"), "utf8")).toBe("kept");
  });

  test.each([["../x"], ["/tmp/instavm-never"], ["a/../../x"], [".."]])(
    "never writes elsewhere: a name like %s",
    async (name) => {
      await expect(download(archive({ [name]: { text: "evil" } }))).rejects.toMatchObject({ code: "guest_protocol" });
      expect(readdirSync(here)).toEqual(["out"]);
      expect(existsSync("/tmp/instavm-never")).toBe(false);
    },
  );

  test("holds no link that leads out of it, also over another link", async () => {
    const outward = ["/etc", "..", "../..", "a/../..", "d/e/../../../x", "", "up/../.."];
    const links = outward.map((text, at) => [`link${String(at)}`, { kind: "symlink", text }] as const);
    const done = await download(
      archive({
        "d/e/up": { kind: "symlink", text: "../.." },
        "d/e/out": { kind: "symlink", text: "up/../x" },
        ...Object.fromEntries(links),
      }),
    );
    expect(done).toEqual({ sizeBytes: 0, entries: 1, skipped: outward.length + 1 });
    expect(readlinkSync(join(here, "out/d/e/up"))).toBe("../..");
  });

  test("does not follow a link that is there, or that it made itself", async () => {
    mkdirSync(join(here, "out"));
    mkdirSync(join(here, "elsewhere"));
    symlinkSync("../elsewhere", join(here, "out/a"));
    await expect(download(archive({ "a/x": { text: "evil" } }))).rejects.toMatchObject({
      code: "bad_request",
      message: expect.stringContaining("no link is followed"),
    });
    expect(readdirSync(join(here, "elsewhere"))).toEqual([]);
    const own = archive({ "t/": { kind: "directory" }, l: { kind: "symlink", text: "t" }, "l/x": { text: "evil" } });
    await expect(download(own)).rejects.toMatchObject({ code: "bad_request" });
    expect(readdirSync(join(here, "out/t"))).toEqual([]);
  });

  test("that is cut leaves no half file", async () => {
    const whole = archive({ a: { text: "x".repeat(5000) } });
    await expect(download(whole.subarray(0, 3000))).rejects.toMatchObject({ code: "guest_protocol" });
    expect(readdirSync(join(here, "out"))).toEqual([]);
  });

  test("has to be one", async () => {
    await using server = await ScriptedServer.start((_, response) => sendJson(response, { ...entry, type: "file" }));
    const files = server.client.vms.files(vmId);
    await expect(downloadDirectory(files, { from: "f", to: here })).rejects.toMatchObject({ code: "invalid" });
  });
});
