import { mkdtempSync, openAsBlob, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { InstaVm } from "./index.ts";
import { CountingServer } from "./testing/counting-server.ts";
import { ScriptedServer, sendError, sendJson } from "./testing/scripted-server.ts";
import type { Answerer, Received } from "./testing/scripted-server.ts";
import { sessionAnswer as session, sessionId, vmId } from "./testing/sample-answers.ts";

const mebibyte = 1024 * 1024;

async function formOf(received: Received | undefined): Promise<FormData> {
  const headers = { "content-type": received?.contentType ?? "" };
  return await new Response(received?.body ?? null, { headers }).formData();
}

test("a file is written with its fields before its bytes", async () => {
  await using server = await ScriptedServer.start((_, response) => {
    sendJson(response, { status: "success", path: "/app/dir/ä b", size: 4 });
  });
  const written = await server.client.files(sessionId).write("dir/ä b", new Uint8Array([0, 255, 10, 13]));
  expect(written).toEqual({ path: "/app/dir/ä b", sizeBytes: 4 });
  const form = await formOf(server.received[0]);
  expect([...form.keys()]).toEqual(["session_id", "remote_path", "recursive", "file"]);
  expect(form.get("session_id")).toBe(sessionId);
  expect(form.get("remote_path")).toBe("dir/ä b");
  const file = form.get("file");
  expect(file instanceof File ? [...new Uint8Array(await file.arrayBuffer())] : []).toEqual([0, 255, 10, 13]);
});

test("a path with quotes and newlines stays one field", async () => {
  await using server = await ScriptedServer.start((_, response) => {
    sendJson(response, { status: "success", path: "/app/x", size: 1 });
  });
  const path = 'a"b\nc\r; name="session_id"';
  await server.client.files(sessionId).upload(path, "x");
  const form = await formOf(server.received[0]);
  expect(form.getAll("session_id")).toEqual([sessionId]);
  expect(form.get("remote_path")).toBe(path);
});

test("a stream is sent as it comes", async () => {
  await using server = await ScriptedServer.start((_, response) => {
    sendJson(response, { status: "success", path: "/app/x", size: 3 });
  });
  const pieces = ["a", "b", "c"].map((text) => new TextEncoder().encode(text));
  const source = new ReadableStream<Uint8Array>({
    pull: (controller) => {
      const piece = pieces.shift();
      if (piece === undefined) controller.close();
      else controller.enqueue(piece);
    },
  });
  await server.client.files(sessionId).write("x", source);
  const file = (await formOf(server.received[0])).get("file");
  expect(file instanceof File ? await file.text() : "").toBe("abc");
});

test.each(["a stream", "a Blob"])("little of %s is in memory while it is sent", async (kind) => {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  if (typeof collect !== "function") throw new TypeError("this runtime cannot be told to collect garbage");
  const held = (): number => {
    Reflect.apply(collect, undefined, []);
    return process.memoryUsage().arrayBuffers;
  };
  const directory = mkdtempSync(join(tmpdir(), "instavm-sdk-memory-"));
  try {
    const path = join(directory, "large");
    writeFileSync(path, "");
    truncateSync(path, 256 * mebibyte);
    const before = held();
    const seen: number[] = [];
    await using server = await CountingServer.start((bytes) => {
      if (bytes % (32 * mebibyte) < 65_536) seen.push(held() - before);
    });
    const file = await openAsBlob(path);
    const client = new InstaVm({ baseUrl: server.baseUrl, apiKey: "key" });
    await client.vms.files(vmId).write("large", kind === "a Blob" ? file : file.stream());
    expect(seen.length).toBeGreaterThan(6);
    // What was sent is freed a little later, so not each look finds little.
    expect(Math.min(...seen.slice(-4))).toBeLessThan(64 * mebibyte);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

/** A server with one session and one VM, whose files are what `answer` says. */
async function vmServer(answer: Answerer): Promise<ScriptedServer> {
  return await ScriptedServer.start((received, response) => {
    if (received.path.startsWith("/v1/sessions/session/")) sendJson(response, session);
    else answer(received, response);
  });
}

test("a file comes back as it is, byte by byte, from the VM that the session has", async () => {
  const bytes = Uint8Array.from({ length: 1000 }, (_, at) => at % 256);
  await using server = await vmServer((_, response) => response.end(bytes));
  const files = server.client.files(sessionId);
  expect(await files.readBytes("a b&c\n")).toEqual(bytes);
  expect(server.received.at(-1)?.path).toBe(`/v1/vms/${vmId}/files?path=a+b%26c%0A`);
  expect((await files.download("f")).size).toBe(1000);
  await expect(files.read("f")).rejects.toMatchObject({ code: "guest_failure", next: "Read it with readBytes." });
});

test("a part of a file is asked for as a range", async () => {
  await using server = await vmServer(({ headers }, response) => response.writeHead(206).end(headers.range));
  const files = server.client.vms.files(vmId);
  const asked = async (options: { readonly offset?: number; readonly length?: number }): Promise<string> => {
    let text = "";
    for await (const piece of files.stream("f", options)) text += new TextDecoder().decode(piece);
    return text;
  };
  expect(await asked({ offset: 5 })).toBe("bytes=5-");
  expect(await asked({ offset: 5, length: 10 })).toBe("bytes=5-14");
  expect(await asked({ length: 3 })).toBe("bytes=0-2");
  expect(await asked({})).toBe("");
});

test("a connection that breaks in the middle of a file is an error", async () => {
  await using server = await vmServer((_, response) => {
    response.writeHead(200, { "content-length": "1000" }).write("half");
    setTimeout(() => response.destroy(), 20).unref();
  });
  await expect(server.client.vms.files(vmId).read("f")).rejects.toMatchObject({ code: "unavailable" });
});

test("an empty file is empty", async () => {
  await using server = await vmServer((_, response) => response.end());
  expect(await server.client.files(sessionId).read("f")).toBe("");
});

test("a file that is not there is an error with its code", async () => {
  await using server = await vmServer((_, response) => sendError(response, 404, "file_not_found"));
  await expect(server.client.files(sessionId).read("f")).rejects.toMatchObject({ code: "file_not_found", status: 404 });
});

test("a session without a VM has no files to read", async () => {
  await using server = await ScriptedServer.start((_, response) => sendJson(response, { ...session, vm_id: null }));
  await expect(server.client.files(sessionId).stat("f")).rejects.toMatchObject({ code: "vm_lost" });
});

test("mode, owner and must-be-new go to the VM's own files", async () => {
  await using server = await vmServer((_, response) => sendJson(response, { path: "/app/x", size: 2 }));
  await server.client.files(sessionId).write("x", "hi", { mode: "0755", user: "root", mustBeNew: true });
  expect(server.received.at(-1)).toMatchObject({
    method: "PUT",
    path: `/v1/vms/${vmId}/files?path=x&mode=0755&user=root&must_be_new=true`,
    contentType: "application/octet-stream",
    body: new TextEncoder().encode("hi"),
  });
});

test("a list has all pages", async () => {
  const entry = {
    raw_name: null,
    type: "file",
    size: 1,
    mode: "0644",
    uid: 0,
    gid: 0,
    user: "root",
    group: null,
    modified_at: "2026-01-02T03:04:05Z",
    link_target: null,
  };
  await using server = await vmServer(({ path }, response) => {
    const isSecond = path.includes("after=b");
    const names = isSecond ? ["c"] : ["a", "b"];
    sendJson(response, { entries: names.map((name) => ({ ...entry, name })), has_more: !isSecond });
  });
  const entries = await server.client.vms.files(vmId).list("/app");
  expect(entries.map(({ name }) => name)).toEqual(["a", "b", "c"]);
  expect(entries[0]).toMatchObject({ sizeBytes: 1, mode: "0644", group: undefined });
});

test("changes are followed until the loop is left; an error ends them", async () => {
  await using server = await vmServer((_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write('event: ready\ndata: {"type":"ready"}\n\nevent: new\ndata: {"type":"of a newer server"}\n\n');
    response.write('event: moved\ndata: {"type":"moved","path":"b","from_path":"a","is_directory":false}\n\n');
    response.end('event: error\ndata: {"detail":"Gone.","code":"vm_lost","next":"-","request_id":"r"}\n\n');
  });
  const seen: unknown[] = [];
  const follow = async (): Promise<void> => {
    for await (const change of server.client.vms.files(vmId).watch(".", { recursive: true })) seen.push(change);
  };
  await expect(follow()).rejects.toMatchObject({ code: "vm_lost" });
  expect(seen).toMatchObject([{ type: "ready" }, { type: "moved", path: "b", fromPath: "a", isDirectory: false }]);
});
