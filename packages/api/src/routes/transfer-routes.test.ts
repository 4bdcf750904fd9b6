import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { downloadResponseSchema, errorBodySchema, InstaVmError, uploadResponseSchema } from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { startApi } from "../testing/throwaway-api.ts";
import type { ThrowawayApi } from "../testing/throwaway-api.ts";

const sessionId = "0b5c6a0e-3f63-4d9b-8c43-0c7a3f5e2a11";
const boundary = "x123";

interface Form {
  readonly fields?: Readonly<Record<string, string>>;
  readonly file?: Uint8Array<ArrayBuffer> | undefined;
  readonly fileName?: string;
  readonly part?: string;
}

function formOf({ fields = {}, file, fileName = "../local/path.bin", part = "file" }: Form): FormData {
  const form = new FormData();
  for (const [name, value] of Object.entries({ remote_path: "a.bin", session_id: sessionId, ...fields })) {
    form.append(name, value);
  }
  if (file !== undefined) form.append(part, new Blob([file]), fileName);
  return form;
}

function fileFirst(bytes: number): FormData {
  const form = new FormData();
  form.append("file", new Blob([new Uint8Array(bytes)]), "f");
  form.append("remote_path", "a.bin");
  form.append("session_id", sessionId);
  return form;
}

async function upload(server: ThrowawayApi, form: Form): Promise<Response> {
  return server.get("/upload", { method: "POST", body: formOf(form) });
}

async function failure(answer: Response) {
  return { status: answer.status, ...errorBodySchema.parse(await answer.json()) };
}

/** The bytes of an upload by hand: whole, or as far as a test needs it. */
function rawUpload(server: ThrowawayApi, content: string, announcedBytes?: number): string {
  const field = (name: string, value: string): string =>
    `--${boundary}\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
  const file = `--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n${content}`;
  const body = field("remote_path", "a.bin") + field("session_id", sessionId) + file;
  const head = [
    "POST /upload HTTP/1.1",
    "host: x",
    `x-api-key: ${server.keys.adminKey}`,
    `content-type: multipart/form-data; boundary=${boundary}`,
    `content-length: ${announcedBytes ?? Buffer.byteLength(body)}`,
  ];
  return `${head.join("\r\n")}\r\n\r\n${body}`;
}

describe("POST /upload", () => {
  it("puts the file where the fields say, whatever its own name is", async () => {
    await using server = await startApi();
    const file = Uint8Array.from({ length: 100_000 }, (_, index) => index % 251);
    const answer = await upload(server, { file, fields: { remote_path: "dir/ü -x.bin", recursive: "true" } });
    expect(answer.status).toBe(200);
    const body = uploadResponseSchema.parse(await answer.json());
    expect(body).toEqual({ status: "success", path: "/root/dir/ü -x.bin", size: 100_000 });
    expect(Buffer.compare(server.files.contents.get("dir/ü -x.bin") ?? new Uint8Array(), file)).toBe(0);
  });

  it("takes an empty file", async () => {
    await using server = await startApi();
    expect(await (await upload(server, { file: new Uint8Array() })).json()).toMatchObject({ size: 0 });
    expect(server.files.contents.get("a.bin")).toHaveLength(0);
  });

  it.each<[string, Form, string]>([
    ["no file", {}, "file"],
    ["a file in another part", { file: new Uint8Array(1), part: "data" }, "data"],
    ["no path", { file: new Uint8Array(1), fields: { remote_path: "" } }, "remote_path"],
    ["a path with NUL", { file: new Uint8Array(1), fields: { remote_path: "a\0b" } }, "remote_path"],
    ["too long a path", { file: new Uint8Array(1), fields: { remote_path: "x".repeat(5000) } }, "remote_path"],
    ["no session", { file: new Uint8Array(1), fields: { session_id: "none" } }, "session_id"],
    ["a strange flag", { file: new Uint8Array(1), fields: { recursive: "yes" } }, "recursive"],
  ])("refuses %s by the name of the field, and writes nothing", async (_name, form, field) => {
    await using server = await startApi();
    expect(await failure(await upload(server, form))).toMatchObject({
      status: 422,
      code: "invalid",
      errors: [{ loc: ["body", field] }],
    });
    expect(server.files.contents.size).toBe(0);
  });

  it("takes a small file that comes before the fields", async () => {
    await using server = await startApi();
    const answer = await server.get("/upload", { method: "POST", body: fileFirst(1024 * 1024) });
    expect(answer.status).toBe(200);
    expect(uploadResponseSchema.parse(await answer.json())).toMatchObject({ path: "/root/a.bin", size: 1024 * 1024 });
  });

  it("refuses a larger one, and one whose fields never come", async () => {
    await using server = await startApi();
    const large = await failure(await server.get("/upload", { method: "POST", body: fileFirst(8 * 1024 * 1024) }));
    expect(large).toMatchObject({
      status: 422,
      detail: expect.stringContaining("expected behind the fields session_id and remote_path"),
      errors: [{ loc: ["body", "file"] }],
    });
    const lonely = new FormData();
    lonely.append("file", new Blob(["x"]), "f");
    expect(await failure(await server.get("/upload", { method: "POST", body: lonely }))).toMatchObject({
      status: 422,
      errors: [{ loc: ["body", "session_id"] }, { loc: ["body", "remote_path"] }],
    });
  });

  it.each([
    ["application/json", "{}", "multipart/form-data is expected"],
    ["multipart/form-data", "x", "Boundary"],
    [`multipart/form-data; boundary=${boundary}`, "nonsense", "multipart"],
  ])("refuses a body of type %s", async (type, body, words) => {
    await using server = await startApi();
    const answer = await failure(
      await server.get("/upload", { method: "POST", body, headers: { "content-type": type } }),
    );
    expect(answer).toMatchObject({ status: 400, code: "bad_request", detail: expect.stringContaining(words) });
  });

  it("leaves no file when the body ends in the middle", async () => {
    await using server = await startApi();
    const answer = await new Promise<string>((resolve) => {
      const socket = connect(server.port, "127.0.0.1");
      let text = "";
      socket.on("data", (data) => (text += data.toString()));
      socket.on("error", () => undefined);
      socket.on("close", () => resolve(text));
      // A whole HTTP body that lacks the last boundary.
      socket.write(rawUpload(server, "half a file").replace("host: x", "host: x\r\nconnection: close"));
    });
    expect(answer).toContain("400");
    expect(answer).toContain("not a whole multipart body");
    expect(server.files.contents.size).toBe(0);
    expect(server.files.brokenWrites).toHaveLength(1);
  });

  it("leaves no file when the client vanishes", async () => {
    await using server = await startApi();
    const socket = connect(server.port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.write(rawUpload(server, "x".repeat(50_000), 1_000_000));
    while (server.files.takenBytes < 40_000) await sleep(5);
    socket.destroy();
    while (server.files.brokenWrites.length === 0) await sleep(5);
    expect(server.files.contents.size).toBe(0);
    expect((await server.get("/health")).status).toBe(200);
  });

  it("reads no more than the guest takes", async () => {
    await using server = await startApi();
    const open = Promise.withResolvers<void>();
    server.files.pace = async () => open.promise;
    const total = 32 * 1024 * 1024;
    const socket = connect(server.port, "127.0.0.1");
    const answered = new Promise<string>((resolve) => socket.once("data", (data) => resolve(data.toString())));
    const ending = `\r\n--${boundary}--\r\n`;
    const head = rawUpload(server, "");
    const [, length = ""] = /content-length: (\d+)/.exec(head) ?? [];
    socket.write(
      head.replace(`content-length: ${length}`, `content-length: ${Number(length) + total + ending.length}`),
    );
    let sent = 0;
    const sending = (async () => {
      const piece = Buffer.alloc(65_536, "x");
      for (; sent < total; sent += piece.length) if (!socket.write(piece)) await once(socket, "drain");
      socket.write(ending);
    })();
    await sleep(500);
    // What the operating system holds for the two ends of the connection, and little more.
    expect(sent).toBeLessThan(16 * 1024 * 1024);
    open.resolve();
    await sending;
    expect(await answered).toContain(`"size":${total}`);
    socket.destroy();
  });

  it("refuses a body over the limit before it is read, and a wrong key", async () => {
    await using server = await startApi();
    const head = (key: string): string => rawUpload(server, "x", 2 ** 40).replace(server.keys.adminKey, key);
    expect(await firstBytes(server.port, head(server.keys.adminKey))).toContain("413");
    expect(await firstBytes(server.port, head("wrong"))).toContain("401");
    expect(server.files.takenBytes).toBe(0);
  });

  it("ends a body that has stopped to come, and one that comes too slowly", async () => {
    await using server = await startApi({ patience: { requestMs: 300, stallMs: 100, checkEveryMs: 20 } });
    expect(await firstBytes(server.port, rawUpload(server, "x", 100_000))).toContain("408");
    while (server.files.brokenWrites.length === 0) await sleep(5);
    const crawling = connect(server.port, "127.0.0.1");
    const closed = new Promise<void>((resolve) => crawling.once("close", () => resolve()));
    crawling.on("error", () => undefined);
    crawling.resume();
    crawling.write(rawUpload(server, "x", 100_000));
    const drip = setInterval(() => crawling.write("x"), 20);
    await closed;
    clearInterval(drip);
    expect(server.files.contents.size).toBe(0);
  });

  it("waits for a guest that takes its time", async () => {
    await using server = await startApi({ patience: { requestMs: 100, stallMs: 100, checkEveryMs: 20 } });
    let pieces = 0;
    server.files.pace = async () => {
      if ((pieces += 1) === 1) await sleep(600);
    };
    const file = new Uint8Array(4 * 1024 * 1024);
    expect(await (await upload(server, { file })).json()).toMatchObject({ size: file.length });
  });

  it("does not end a long body that keeps coming", async () => {
    await using server = await startApi({ patience: { requestMs: 200, stallMs: 150, checkEveryMs: 20 } });
    server.files.pace = async () => sleep(10);
    const file = new Uint8Array(8 * 1024 * 1024);
    expect(await (await upload(server, { file })).json()).toMatchObject({ size: file.length });
  });
});

describe("POST /download", () => {
  const download = async (server: ThrowawayApi, filename: string, key?: string): Promise<Response> =>
    server.get("/download", {
      method: "POST",
      body: new URLSearchParams({ filename, session_id: sessionId }),
      headers: key === undefined ? {} : { "x-api-key": key },
    });

  it.each([1, 2, 3, 65_535, 65_536, 65_537, 500_000])("answers with %i bytes as base64", async (size) => {
    await using server = await startApi();
    const content = Uint8Array.from({ length: size }, (_, index) => (index * 7) % 256);
    server.files.contents.set("ä/ö.bin", content);
    const answer = downloadResponseSchema.parse(await (await download(server, "ä/ö.bin")).json());
    expect(answer).toMatchObject({ filename: "ä/ö.bin", size });
    expect(digest(Buffer.from(answer.content, "base64"))).toBe(digest(content));
  });

  it("answers an empty file with a newline", async () => {
    await using server = await startApi();
    server.files.contents.set("empty", new Uint8Array());
    expect(await (await download(server, "empty")).json()).toEqual({ filename: "empty", content: "\n", size: 0 });
  });

  it("says that there is no such file", async () => {
    await using server = await startApi();
    expect(await failure(await download(server, "none"))).toMatchObject({ status: 404, code: "file_not_found" });
  });

  it("cuts the connection when the file cannot be read to its end", async () => {
    await using server = await startApi();
    server.files.contents.set("f", new Uint8Array(300_000));
    let pieces = 0;
    server.files.pace = async () => {
      if ((pieces += 1) > 3) throw new InstaVmError("vm_lost", "the VM is gone");
    };
    const answer = await download(server, "f");
    await expect(answer.text()).rejects.toThrow();
  });

  it("refuses a body that is no form", async () => {
    await using server = await startApi();
    const answer = await server.post("/download", { filename: "f", session_id: sessionId });
    expect(await failure(answer)).toMatchObject({
      status: 400,
      detail: expect.stringContaining("application/x-www-form-urlencoded is expected"),
    });
  });
});

function digest(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** What the server says first. */
async function firstBytes(port: number, request: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  const { promise, resolve } = Promise.withResolvers<string>();
  socket.on("data", (data) => resolve(data.toString()));
  socket.on("error", () => undefined);
  socket.on("close", () => resolve(""));
  socket.write(request);
  const text = await promise;
  socket.destroy();
  return text;
}
