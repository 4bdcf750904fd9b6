import { errorBodySchema, fileListSchema } from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { text } from "../testing/memory-sessions.ts";
import { startApi } from "../testing/throwaway-api.ts";
import type { ThrowawayApi } from "../testing/throwaway-api.ts";

const vmId = "abcdefghij0123456789";
const path = (rest: string, query: Readonly<Record<string, string>> = {}): string =>
  `/v1/vms/${vmId}/files${rest}?${String(new URLSearchParams(query))}`;
const file = { path: "dir/a b.txt" };

async function withFile(content: string): Promise<ThrowawayApi> {
  const server = await startApi();
  server.files.contents.set(file.path, text(content));
  return server;
}

async function failure(answer: Response) {
  return { status: answer.status, ...errorBodySchema.parse(await answer.json()) };
}

const shown = {
  name: "a b.txt",
  raw_name: null,
  type: "file",
  size: 10,
  mode: "0640",
  uid: 0,
  gid: 7,
  user: "root",
  group: null,
  modified_at: "2026-01-02T03:04:05Z",
  link_target: null,
};

describe("GET /v1/vms/{vm_id}/files", () => {
  it("answers with the bytes and what is known of them", async () => {
    await using server = await withFile("0123456789");
    const answer = await server.get(path("", file));
    expect(answer.status).toBe(200);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      "content-type": "application/octet-stream",
      "content-length": "10",
      "accept-ranges": "bytes",
      "last-modified": "Fri, 02 Jan 2026 03:04:05 GMT",
      "x-file-mode": "0640",
    });
    expect(await answer.text()).toBe("0123456789");
    expect(server.files.openReads).toBe(0);
  });

  it.each([
    ["bytes=0-3", "0123", "bytes 0-3/10"],
    ["bytes=8-", "89", "bytes 8-9/10"],
    ["bytes=8-99", "89", "bytes 8-9/10"],
    ["bytes=-3", "789", "bytes 7-9/10"],
    ["bytes=-99", "0123456789", "bytes 0-9/10"],
  ])("answers %s with that part", async (range, part, contentRange) => {
    await using server = await withFile("0123456789");
    const answer = await server.get(path("", file), { headers: { range } });
    expect([answer.status, answer.headers.get("content-range"), await answer.text()]).toEqual([
      206,
      contentRange,
      part,
    ]);
  });

  it.each(["bytes=5-3", "bytes=0-1,3-4", "lines=1-2", "bytes=-", "nonsense"])(
    "answers %s with the whole",
    async (range) => {
      await using server = await withFile("0123456789");
      const answer = await server.get(path("", file), { headers: { range } });
      expect([answer.status, await answer.text()]).toEqual([200, "0123456789"]);
    },
  );

  it("says how long the file is when there are no such bytes, and leaves it", async () => {
    await using server = await withFile("0123456789");
    for (const range of ["bytes=10-", "bytes=99-100", "bytes=-0"]) {
      const answer = await server.get(path("", file), { headers: { range } });
      expect(answer.headers.get("content-range")).toBe("bytes */10");
      expect(await failure(answer)).toMatchObject({ status: 416, code: "range_not_satisfiable" });
    }
    expect(server.files.openReads).toBe(0);
  });

  it("tells by HEAD what it would answer, and reads nothing", async () => {
    await using server = await withFile("0123456789");
    const answer = await server.get(path("", file), { method: "HEAD" });
    expect([answer.status, answer.headers.get("content-length"), await answer.text()]).toEqual([200, "10", ""]);
    expect((await server.get(path("", { path: "none" }), { method: "HEAD" })).status).toBe(404);
    expect(server.files.asked.map(({ call }) => call)).toEqual(["stat", "stat"]);
  });

  it("leaves the file when its client leaves", async () => {
    await using server = await startApi();
    server.files.contents.set("big", new Uint8Array(64 * 1024 * 1024));
    const leaving = new AbortController();
    const answer = await server.get(path("", { path: "big" }), { signal: leaving.signal });
    await answer.body?.getReader().read();
    expect(server.files.openReads).toBe(1);
    leaving.abort();
    while (server.files.openReads > 0) await new Promise((wake) => setTimeout(wake, 5));
    expect(server.files.openReads).toBe(0);
  });

  it("needs a path, a VM that can be, and a key", async () => {
    await using server = await startApi();
    expect(await failure(await server.get(path("")))).toMatchObject({
      status: 422,
      errors: [{ loc: ["query", "path"] }],
    });
    expect(await failure(await server.get(path("", { path: "a\0b" })))).toMatchObject({ status: 422 });
    expect(await failure(await server.get("/v1/vms/nope/files?path=a"))).toMatchObject({ code: "vm_not_found" });
    expect(await failure(await server.get(path("", file), { headers: { "x-api-key": "wrong" } }))).toMatchObject({
      status: 401,
    });
  });
});

describe("PUT /v1/vms/{vm_id}/files", () => {
  it("writes whatever comes, of whatever type, with mode and owner", async () => {
    await using server = await startApi();
    const query = { ...file, mode: "0750", user: "root", must_be_new: "true" };
    for (const type of ["application/json", "text/plain", "application/x-www-form-urlencoded"]) {
      const answer = await server.get(path("", query), {
        method: "PUT",
        body: "{not json",
        headers: { "content-type": type },
      });
      expect(await answer.json()).toEqual({ path: "/root/dir/a b.txt", size: 9 });
    }
    expect(server.files.asked[0]?.request).toEqual({ mode: 0o750, owner: { user: "root" }, mustBeNew: true });
    const empty = await server.get(path("", { path: "empty" }), { method: "PUT" });
    expect(await empty.json()).toMatchObject({ size: 0 });
  });

  it.each([{ mode: "0999" }, { mode: "7" }, { user: "a b" }, { must_be_new: "yes" }])("refuses %j", async (wrong) => {
    await using server = await startApi();
    const answer = await server.get(path("", { ...file, ...wrong }), { method: "PUT", body: "x" });
    expect(await failure(answer)).toMatchObject({ status: 422, errors: [{ loc: ["query", Object.keys(wrong)[0]] }] });
    expect(server.files.contents.size).toBe(0);
  });
});

describe("the other calls on files", () => {
  it("describe, list, make, move, change and remove", async () => {
    await using server = await withFile("0123456789");
    const send = async (method: string, at: string, body?: unknown): Promise<unknown> => {
      const json = { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
      return (await server.get(at, { method, ...(body === undefined ? {} : json) })).json();
    };
    expect(await send("GET", path("/stat", { ...file, follow: "true" }))).toEqual(shown);
    expect(fileListSchema.parse(await send("GET", path("/list", { path: "dir", after: "a", limit: "7" })))).toEqual({
      entries: [shown],
      has_more: true,
    });
    const made = await send("POST", path("/mkdir"), { path: "new", mode: "0700", group: "7" });
    expect(made).toMatchObject({ type: "directory", name: "new" });
    expect(await send("POST", path("/move"), { from: file.path, to: "b", overwrite: true })).toMatchObject({
      name: "b",
    });
    expect(await send("PATCH", path("", file), { mode: "0600" })).toMatchObject({ mode: "0600" });
    expect(await send("DELETE", path("", { ...file, recursive: "true" }))).toEqual({ removed: 1 });
    const vm = { vmId };
    expect(server.files.asked).toEqual([
      { call: "stat", request: { vm, path: file.path, follow: true } },
      { call: "list", request: { vm, path: "dir", after: "a", limit: 7 } },
      { call: "makeDirectory", request: { vm, path: "new", makeParents: true, mode: 0o700, owner: { group: "7" } } },
      { call: "move", request: { vm, from: file.path, to: "b", overwrite: true, makeParents: true } },
      { call: "change", request: { vm, path: file.path, mode: 0o600 } },
      { call: "remove", request: { vm, path: file.path, recursive: true } },
    ]);
    expect(await send("PATCH", path("", file), {})).toMatchObject({ code: "invalid" });
  });

  it("carry trees both ways", async () => {
    await using server = await withFile("a tar");
    const answer = await server.get(path("/tar", file));
    expect([answer.headers.get("content-type"), await answer.text()]).toEqual(["application/x-tar", "a tar"]);
    const query = { path: "dir", archive_owners: "true" };
    const written = await server.get(path("/tar", query), { method: "PUT", body: "tar tar" });
    expect(await written.json()).toEqual({ size: 7, entries: 3, skipped: 1 });
    expect(server.files.asked[0]?.request).toMatchObject({ path: "dir", owner: "archive" });
  });

  it("tell what changes as events", async () => {
    await using server = await startApi();
    const common = { rawPath: undefined, isDirectory: false };
    server.files.changes = [
      { type: "ready" },
      { type: "created", path: "a", ...common },
      { type: "moved", path: "b", fromPath: "a", rawFromPath: undefined, ...common },
    ];
    server.files.contents.set("dir", new Uint8Array());
    expect((await server.get(path("/watch", { path: "dir" }), { method: "HEAD" })).status).toBe(200);
    const answer = await server.get(path("/watch", { path: "dir", recursive: "true" }));
    expect(answer.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    expect((await answer.text()).split("\n\n").filter((block) => block.startsWith("event"))).toEqual([
      'event: ready\ndata: {"type":"ready"}',
      'event: created\ndata: {"type":"created","path":"a","is_directory":false}',
      'event: moved\ndata: {"type":"moved","path":"b","from_path":"a","is_directory":false}',
    ]);
  });
});
