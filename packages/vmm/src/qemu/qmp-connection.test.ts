import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InstaVmError } from "@instavm/contract";
import { expect, test } from "vitest";
import { continueVcpus, queryState, saveDeviceState, stopVcpus } from "./monitor-commands.ts";
import { connectQmp } from "./qmp-connection.ts";
import { findQemu } from "./qemu-program.ts";
import { startPausedQemu } from "./testing/paused-qemu.ts";

const greeting =
  '{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}\n';

test("a real QEMU is stopped, saved, continued and asked", async () => {
  await using qemu = await startPausedQemu(await findQemu());
  using monitor = await connectQmp(qemu.qmpSocketPath);
  await continueVcpus(monitor);
  expect(await queryState(monitor)).toBe("running");
  await stopVcpus(monitor);
  expect(await queryState(monitor)).toBe("paused");
  await saveDeviceState(monitor, join(qemu.directory, "state"));
  expect(await queryState(monitor)).toBe("paused");
  await expect(saveDeviceState(monitor, "/nowhere/state")).rejects.toThrow("QEMU refused xen-save-devices-state");
  // A refusal is an answer: the connection is still good.
  await continueVcpus(monitor);
  expect(await queryState(monitor)).toBe("running");
});

test("calls at once get their own answers, whatever their order", async () => {
  await using server = await pretend((socket, { id, execute }) => {
    if (execute === "first") setTimeout(() => reply(socket, id, "one"), 50);
    else reply(socket, id, execute === "second" ? "two" : {});
  });
  using monitor = await connectQmp(server.path);
  expect(await Promise.all([monitor.execute("first"), monitor.execute("second")])).toEqual(["one", "two"]);
});

test("a socket that is not there yet is waited for", async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, "qmp.sock");
  const connecting = connectQmp(path, { timeoutMs: 5_000 });
  await new Promise((resolve) => setTimeout(resolve, 100));
  await using _server = await pretend((socket, { id }) => reply(socket, id, {}), path);
  using monitor = await connecting;
  expect(await monitor.execute("anything")).toEqual({});
});

test("a socket that never appears is an error in time", async () => {
  const failed = connectQmp("/nowhere/qmp.sock", { timeoutMs: 100 });
  await expect(failed).rejects.toMatchObject({ code: "engine_failed", message: expect.stringContaining("100 ms") });
});

test("an answer that does not come is given up, and the connection with it", async () => {
  await using server = await pretend((socket, { id, execute }) => {
    if (execute === "qmp_capabilities") reply(socket, id, {});
  });
  using monitor = await connectQmp(server.path);
  await expect(monitor.execute("stop", {}, { timeoutMs: 50 })).rejects.toThrow("longer than 50 ms");
  await expect(monitor.execute("cont")).rejects.toBeInstanceOf(InstaVmError);
});

test("the caller's own reason comes back when it leaves", async () => {
  await using server = await pretend((socket, { id, execute }) => {
    if (execute === "qmp_capabilities") reply(socket, id, {});
  });
  using monitor = await connectQmp(server.path);
  const reason = new Error("not needed any more");
  await expect(monitor.execute("stop", {}, { signal: AbortSignal.timeout(20) })).rejects.toMatchObject({
    name: "TimeoutError",
  });
  await expect(connectQmp(server.path, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
});

test.each([
  ["no JSON", "hello\n"],
  ["another shape", '{"return": {}}\n'],
  ["a line without an end", "x".repeat(300 * 1024)],
])("what is %s ends the connection", async (_name, bytes) => {
  await using server = await pretend((socket, { id, execute }) => {
    if (execute === "qmp_capabilities") reply(socket, id, {});
    else socket.write(bytes);
  });
  using monitor = await connectQmp(server.path);
  await expect(monitor.execute("stop", {}, { timeoutMs: 5_000 })).rejects.toMatchObject({ code: "engine_failed" });
});

test("a QEMU that goes away in the middle of a call is an error", async () => {
  await using server = await pretend((socket, { id, execute }) => {
    if (execute === "qmp_capabilities") reply(socket, id, {});
    else socket.destroy();
  });
  using monitor = await connectQmp(server.path);
  await expect(monitor.execute("stop")).rejects.toThrow("closed the connection");
});

interface Request {
  readonly id: number;
  readonly execute: string;
}

function reply(socket: Socket, id: number, value: unknown): void {
  // Events come between answers at any time.
  socket.write(
    `{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 1}}\n${JSON.stringify({ id, return: value })}\n`,
  );
}

/** A monitor that answers as the test says. */
async function pretend(
  answer: (socket: Socket, request: Request) => void,
  at?: string,
): Promise<{ readonly path: string } & AsyncDisposable> {
  const directory = await temporaryDirectory();
  const path = at ?? join(directory.path, "qmp.sock");
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.write(greeting);
    socket.on("data", (data: Buffer) => {
      for (const line of data.toString().split("\n").filter(Boolean)) answer(socket, requestOf(JSON.parse(line)));
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return {
    path,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
      await directory[Symbol.asyncDispose]();
    },
  };
}

function requestOf(message: unknown): Request {
  const request = typeof message === "object" && message !== null ? message : {};
  return {
    id: "id" in request && typeof request.id === "number" ? request.id : -1,
    execute: "execute" in request && typeof request.execute === "string" ? request.execute : "",
  };
}

async function temporaryDirectory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "instavm-qmp-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
