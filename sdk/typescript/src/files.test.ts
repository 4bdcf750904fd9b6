import { expect, test } from "vitest";
import { ScriptedServer, sendError, sendJson } from "./testing/scripted-server.ts";
import type { Received } from "./testing/scripted-server.ts";

const sessionId = "0b5c6a0e-3f63-4d9b-8c43-0c7a3f5e2a11";

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

test("a file comes back as it is, byte by byte", async () => {
  const bytes = Uint8Array.from({ length: 1000 }, (_, at) => at % 256);
  await using server = await ScriptedServer.start((_, response) => {
    sendJson(response, { filename: "f", content: Buffer.from(bytes).toString("base64"), size: bytes.length });
  });
  const files = server.client.files(sessionId);
  expect(await files.readBytes("a b&c")).toEqual(bytes);
  expect(server.received[0]?.contentType).toBe("application/x-www-form-urlencoded");
  const sent = new URLSearchParams(new TextDecoder().decode(server.received[0]?.body));
  expect(Object.fromEntries(sent)).toEqual({ filename: "a b&c", session_id: sessionId });
  expect((await files.download("f")).size).toBe(1000);
  await expect(files.read("f")).rejects.toMatchObject({ code: "guest_failure", next: "Read it with readBytes." });
});

test("an empty file is empty", async () => {
  await using server = await ScriptedServer.start((_, response) => {
    sendJson(response, { filename: "f", content: "\n", size: 0 });
  });
  expect(await server.client.files(sessionId).read("f")).toBe("");
});

test("an answer that lacks some of the file is an error", async () => {
  await using server = await ScriptedServer.start((_, response) => {
    sendJson(response, { filename: "f", content: "YWJj", size: 4 });
  });
  await expect(server.client.files(sessionId).read("f")).rejects.toMatchObject({ code: "bad_gateway" });
});

test("a file that is not there is an error with its code", async () => {
  await using server = await ScriptedServer.start((_, response) => {
    sendError(response, 404, "file_not_found");
  });
  await expect(server.client.files(sessionId).read("f")).rejects.toMatchObject({ code: "file_not_found", status: 404 });
});
