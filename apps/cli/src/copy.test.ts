import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parsePlace } from "./copy-place.ts";
import { StandInServer, send } from "./testing/stand-in-server.ts";
import type { Received } from "./testing/stand-in-server.ts";
import { userOf } from "./testing/terminal-user.ts";

const sessionId = "0b5c6a0e-3f63-4d9b-8c43-0c7a3f5e2a11";
const session = {
  id: sessionId,
  session_id: sessionId,
  vm_id: "q7v2kd0w9x3m1zr8tj5c",
  status: "active",
  created_at: "2026-01-02T03:04:05Z",
  expires_at: "2026-01-02T03:09:05Z",
  vm_alive: true,
  memory_mb: 512,
  vcpu_count: 2,
  vm_lifetime_seconds: 300,
  metadata: {},
};
const entry = {
  name: "x",
  raw_name: null,
  type: "file",
  size: 4,
  mode: "0644",
  uid: 0,
  gid: 0,
  user: "root",
  group: "root",
  modified_at: "2026-01-02T03:04:05Z",
  link_target: null,
};
const bytes = Uint8Array.from({ length: 300_000 }, (_, at) => (at * 7919) % 256);

/** Takes uploads, and answers downloads with `bytes`. */
async function fileServer(): Promise<StandInServer> {
  const server = await StandInServer.start();
  server.respond = ({ path }, response) => {
    if (path === "/upload") send(response, 200, { status: "success", path: "/app/there", size: 3 });
    else if (path.startsWith("/v1/sessions/session/")) send(response, 200, session);
    else response.end(bytes);
    return true;
  };
  return server;
}

/** Takes archives, and answers with one of `sub/file`. */
async function treeServer(): Promise<StandInServer> {
  const archive = tarOfOneFile();
  const server = await StandInServer.start();
  server.respond = ({ path, method }, response) => {
    if (path.startsWith("/v1/sessions/session/")) send(response, 200, session);
    else if (path.includes("/files/stat")) send(response, 200, { ...entry, type: "directory" });
    else if (method === "PUT") send(response, 200, { size: 9, entries: 2, skipped: 1 });
    else response.end(archive);
    return true;
  };
  return server;
}

function tarOfOneFile(): Buffer {
  const directory = mkdtempSync(join(tmpdir(), "instavm-cli-tar-"));
  try {
    mkdirSync(join(directory, "sub"));
    writeFileSync(join(directory, "sub/file"), "text");
    return execFileSync("tar", ["--format=ustar", "-C", directory, "-cf", "-", "sub"]);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function listedTar(body: Uint8Array | undefined): string {
  return execFileSync("tar", ["-tf", "-"], { input: body, encoding: "utf8" });
}

async function formOf(received: Received | undefined): Promise<FormData> {
  const headers = { "content-type": received?.contentType ?? "" };
  return await new Response(received?.body ?? null, { headers }).formData();
}

async function uploaded(server: StandInServer): Promise<{ readonly path: unknown; readonly content: Uint8Array }> {
  const form = await formOf(server.received.at(-1));
  const file = form.get("file");
  const content = file instanceof File ? await file.arrayBuffer() : new ArrayBuffer();
  return { path: form.get("remote_path"), content: new Uint8Array(content) };
}

test("a file goes in under the name that is given, or its own in a directory", async () => {
  await using server = await fileServer();
  using user = userOf(server);
  writeFileSync(join(user.home, "a b.bin"), bytes);
  const call = await user.types(["cp", "a b.bin", `${sessionId}:dir/c`]);
  expect(call).toMatchObject({ exitCode: 0, stdout: "", stderr: "↳ /app/there has 3 bytes\n" });
  expect(await uploaded(server)).toEqual({ path: "dir/c", content: bytes });
  await user.types(["cp", "a b.bin", `${sessionId}:dir/`]);
  expect(await uploaded(server)).toMatchObject({ path: "dir/a b.bin" });
  await user.types(["cp", "a b.bin", `${sessionId}:`]);
  expect(await uploaded(server)).toMatchObject({ path: "a b.bin" });
});

test("standard input goes in, and --json prints what was written", async () => {
  await using server = await fileServer();
  using user = userOf(server);
  const call = await user.types(["cp", "-", `${sessionId}:x`, "--json"], { stdin: "hello" });
  expect(JSON.parse(call.stdout)).toEqual({ session_id: sessionId, path: "/app/there", size: 3 });
  expect(new TextDecoder().decode((await uploaded(server)).content)).toBe("hello");
  const nameless = await user.types(["cp", "-", `${sessionId}:dir/`], { stdin: "hello" });
  expect(nameless).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("next:  Name the file") });
});

test("a file comes out under the name that is given, into a directory, or to standard output", async () => {
  await using server = await fileServer();
  using user = userOf(server);
  mkdirSync(join(user.home, "here"));
  expect(await user.types(["cp", `${sessionId}:dir/f.bin`, "g.bin"])).toMatchObject({ exitCode: 0, stdout: "" });
  expect(await user.types(["cp", `${sessionId}:dir/f.bin`, "here"])).toMatchObject({ exitCode: 0 });
  expect(new Uint8Array(readFileSync(join(user.home, "g.bin")))).toEqual(bytes);
  expect(readdirSync(join(user.home, "here"))).toEqual(["f.bin"]);
  const out = await user.types(["cp", `${sessionId}:f`, "-"]);
  expect(out).toMatchObject({ exitCode: 0, stderr: "" });
  expect(out.stdout.length).toBeGreaterThan(100_000);
});

test("a target that cannot be written is named, and nothing is left beside it", async () => {
  await using server = await fileServer();
  using user = userOf(server);
  const call = await user.types(["cp", `${sessionId}:f`, "missing/g.bin"]);
  expect(call).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining("The file missing/g.bin cannot be written"),
  });
  expect(readdirSync(user.home)).toEqual(["instavm"]);
});

test.each([
  ["none.txt", /error: The file none\.txt cannot be read: ENOENT.*\nnext: {2}Check the path/],
  ["sub", /error: The file sub cannot be read: it is no file; a directory needs -r\./],
])("a source that cannot be read is named: %s", async (name, message) => {
  await using server = await fileServer();
  using user = userOf(server);
  mkdirSync(join(user.home, "sub"));
  const call = await user.types(["cp", name, `${sessionId}:x`]);
  expect(call).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(message) });
  expect(server.received).toEqual([]);
});

test("a directory goes in with all that is in it, under its own name or the one that is given", async () => {
  await using server = await treeServer();
  using user = userOf(server);
  mkdirSync(join(user.home, "src/sub"), { recursive: true });
  writeFileSync(join(user.home, "src/sub/a b"), "text");
  const call = await user.types(["cp", "-r", "src", `${sessionId}:`]);
  const seen = "↳ src has 9 bytes in 2 files and directories; 1 that are no files, or lead elsewhere, were left out\n";
  expect(call).toMatchObject({ exitCode: 0, stdout: "", stderr: seen });
  const put = server.received.at(-1);
  expect(put?.path).toBe(`/v1/vms/${session.vm_id}/files/tar?path=src`);
  expect(listedTar(put?.body)).toBe("sub/\nsub/a b\n");
  await user.types(["cp", "-r", "src/.", `${sessionId}:/opt/x`, "--json"]);
  expect(server.received.at(-1)?.path).toBe(`/v1/vms/${session.vm_id}/files/tar?path=%2Fopt%2Fx`);
});

test("a directory comes out under the name that is given, or its own in a directory", async () => {
  await using server = await treeServer();
  using user = userOf(server);
  const call = await user.types(["cp", "-r", `${sessionId}:/app/out/`, "here", "--json"]);
  const copied = { session_id: sessionId, path: "here", size: 4, entries: 2, skipped: 0 };
  expect(JSON.parse(call.stdout)).toEqual(copied);
  expect(readFileSync(join(user.home, "here/sub/file"), "utf8")).toBe("text");
  expect(await user.types(["cp", "-r", `${sessionId}:/app/out/`, "here"])).toMatchObject({ exitCode: 0 });
  expect(readFileSync(join(user.home, "here/out/sub/file"), "utf8")).toBe("text");
  expect(await user.types(["cp", "-r", `${sessionId}:`, "here"])).toMatchObject({ exitCode: 0 });
  const toStdout = await user.types(["cp", "-r", `${sessionId}:/app/out`, "-"]);
  expect(toStdout).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("cannot go to standard output") });
});

test("-r takes a file too", async () => {
  await using server = await fileServer();
  using user = userOf(server);
  writeFileSync(join(user.home, "f"), bytes);
  expect(await user.types(["cp", "-r", "f", `${sessionId}:f`])).toMatchObject({ exitCode: 0 });
  expect(await uploaded(server)).toMatchObject({ path: "f" });
});

test.each([
  ["a", "b"],
  [":a", ":b"],
])("exactly one place is in a VM: %s %s", async (from, to) => {
  await using server = await fileServer();
  using user = userOf(server);
  expect(await user.types(["cp", from, to])).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("VM:PATH") });
});

test("the session of the last call needs to have been one", async () => {
  await using server = await fileServer();
  using user = userOf(server);
  expect(await user.types(["cp", ":a", "b"])).toMatchObject({
    exitCode: 1,
    stderr: expect.stringContaining("No session is remembered"),
  });
});

test("a place is in a VM only when its first part is an id or empty", () => {
  expect(parsePlace("q7v2kd0w9x3m1zr8tj5c:/a:b")).toEqual({ kind: "vm", id: "q7v2kd0w9x3m1zr8tj5c", path: "/a:b" });
  expect(parsePlace(`${sessionId}:a`)).toEqual({ kind: "session", id: sessionId, path: "a" });
  expect(parsePlace(":a")).toEqual({ kind: "remembered", id: "", path: "a" });
  expect(parsePlace("C:a")).toEqual({ kind: "local", path: "C:a" });
  expect(parsePlace("./q7v2kd0w9x3m1zr8tj5c:a")).toMatchObject({ kind: "local" });
  expect(parsePlace("plain")).toEqual({ kind: "local", path: "plain" });
});
