import { InstaVmError, type SessionId } from "@instavm/contract";
import { failureOf, FakeClient, FakeWorld } from "@instavm/testkit";
import { describe, expect, test } from "vitest";
import type { Files } from "./files.ts";

async function openFiles(world: FakeWorld): Promise<{
  client: FakeClient;
  sessionId: SessionId;
  files: Files;
  stranger: FakeClient;
}> {
  const { platform } = await world.startedServer();
  const client = new FakeClient(platform);
  const stranger = new FakeClient(platform, 2);
  return { client, sessionId: await client.open(), files: platform.files, stranger };
}

async function* pieces(...texts: readonly string[]): AsyncGenerator<Uint8Array, void, undefined> {
  for (const text of texts) yield Buffer.from(text);
}

async function textOf(content: AsyncIterable<Uint8Array>): Promise<string> {
  const all: Uint8Array[] = [];
  for await (const piece of content) all.push(piece);
  return Buffer.concat(all).toString();
}

const limitBytes = 1000;

describe("a file", () => {
  test("is written and read by its session, and by its VM", async () => {
    await using world = new FakeWorld();
    const { client, sessionId, files } = await openFiles(world);
    const vmId = (await client.get(sessionId)).vm?.vmId;
    expect(vmId).toBeDefined();
    if (vmId === undefined) return;
    const written = await files.write(client.caller, {
      vm: { sessionId },
      path: "/a",
      content: pieces("one ", "two"),
      limitBytes,
    });
    expect(written).toEqual({ path: "/a", bytes: 7 });
    expect(await textOf((await files.read(client.caller, { vm: { vmId }, path: "/a" })).content)).toBe("one two");
  });

  test("of a session whose VM is dead is written into a fresh one; a dead VM has none", async () => {
    await using world = new FakeWorld();
    const { client, sessionId, files } = await openFiles(world);
    const { vm } = await client.get(sessionId);
    if (vm === undefined) throw new InstaVmError("internal", "the session has no VM");
    world.room.kill(vm.vmId);
    const place = { vm: { sessionId }, path: "/a" };
    await files.write(client.caller, { ...place, content: pieces("x"), limitBytes });
    expect(await textOf((await files.read(client.caller, place)).content)).toBe("x");
    expect(await failureOf(files.read(client.caller, { vm: { vmId: vm.vmId }, path: "/a" }))).toMatchObject({
      code: "vm_not_found",
      message: expect.stringContaining("has ended"),
    });
  });

  test("that is missing, or another key's, is not found", async () => {
    await using world = new FakeWorld();
    const { client, sessionId, files, stranger } = await openFiles(world);
    const { vm } = await client.get(sessionId);
    if (vm === undefined) throw new InstaVmError("internal", "the session has no VM");
    const read = (keyId: FakeClient, of: Parameters<Files["read"]>[1]["vm"]) =>
      failureOf(files.read(keyId.caller, { vm: of, path: "/none" }));
    expect(await read(client, { sessionId })).toMatchObject({ code: "file_not_found" });
    expect(await read(stranger, { sessionId })).toMatchObject({ code: "session_not_found" });
    expect(await read(stranger, { vmId: vm.vmId })).toMatchObject({ code: "vm_not_found" });
  });

  test("whose source fails is not written", async () => {
    await using world = new FakeWorld();
    const { client, sessionId, files } = await openFiles(world);
    const content = (async function* () {
      yield* pieces("half");
      throw new InstaVmError("cancelled", "the client left");
    })();
    const place = { vm: { sessionId }, path: "/a" };
    expect(await failureOf(files.write(client.caller, { ...place, content, limitBytes }))).toMatchObject({
      message: "the client left",
    });
    expect(await failureOf(files.read(client.caller, place))).toMatchObject({ code: "file_not_found" });
  });

  test("is described, listed, moved, changed and removed", async () => {
    await using world = new FakeWorld();
    const { client, sessionId, files } = await openFiles(world);
    const { caller } = client;
    const vm = { sessionId };
    for (const path of ["/d/a", "/d/b"]) await files.write(caller, { vm, path, content: pieces("x"), limitBytes });
    expect(await files.stat(caller, { vm, path: "/d/a", follow: false })).toMatchObject({ name: "a", sizeBytes: 1 });
    const page = await files.list(caller, { vm, path: "/d", limit: 1 });
    expect([page.entries.map(({ name }) => name), page.hasMore]).toEqual([["a"], true]);
    const move = { vm, from: "/d/a", to: "/d/c", overwrite: false, makeParents: true };
    expect(await files.move(caller, move)).toMatchObject({ name: "c" });
    expect(await files.change(caller, { vm, path: "/d/c", mode: 0o600 })).toMatchObject({ mode: 0o600 });
    expect(await files.remove(caller, { vm, path: "/d/c", recursive: false })).toBe(1);
    expect(await files.makeDirectory(caller, { vm, path: "/e", makeParents: true })).toMatchObject({
      type: "directory",
    });
  });

  test("tree is read and written, and fails at once when it is missing", async () => {
    await using world = new FakeWorld();
    const { client, sessionId, files } = await openFiles(world);
    const { caller } = client;
    const vm = { sessionId };
    const written = await files.writeTree(caller, { vm, path: "/d", content: pieces("tar"), limitBytes });
    expect(written).toEqual({ bytes: 3, entries: 1, skipped: 0 });
    expect(await textOf(await files.readTree(caller, { vm, path: "/d" }))).toBe("tar");
    expect(await failureOf(files.readTree(caller, { vm, path: "/none" }))).toMatchObject({ code: "file_not_found" });
  });

  test("is watched until the watcher leaves", async () => {
    await using world = new FakeWorld();
    const { client, sessionId, files } = await openFiles(world);
    const request = { vm: { sessionId }, path: "/d", recursive: true };
    for await (const change of await files.watch(client.caller, request)) {
      expect(change).toEqual({ type: "ready" });
      break;
    }
    const leaving = new AbortController();
    const left = (async () => {
      for await (const _ of await files.watch(client.caller, request, { signal: leaving.signal })) leaving.abort();
    })();
    expect(await failureOf(left)).toMatchObject({ name: "AbortError" });
  });

  test("read by nobody holds up no stop of the server", async () => {
    await using world = new FakeWorld();
    const { client, sessionId, files } = await openFiles(world);
    const place = { vm: { sessionId }, path: "/a" };
    await files.write(client.caller, { ...place, content: pieces("x"), limitBytes });
    expect(await files.read(client.caller, place)).toBeDefined();
  });
});
