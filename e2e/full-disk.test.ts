import { mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { witnesses } from "./support/agreement.ts";
import { OwnCache } from "./support/own-cache.ts";
import { RealServer } from "./support/real-server.ts";
import { SmallDisk } from "./support/scratch.ts";
import { ServerAttempt } from "./support/server-attempt.ts";

const small = { vcpuCount: 1, memoryMib: 128 } as const;
const kib = 1024;

/** Fills the filesystem of a directory until so many bytes are left. */
function fill(directory: string, leaveBytes: number): string {
  const { bavail, bsize } = statfsSync(directory);
  const path = join(directory, "ballast");
  try {
    writeFileSync(path, Buffer.alloc(Math.max(0, bavail * bsize - leaveBytes)));
  } catch (error) {
    // The server writes, too.
    if (!(error instanceof Error && "code" in error && error.code === "ENOSPC")) throw error;
  }
  return path;
}

test("a server whose state directory has no room does not start and says how much it needs", async () => {
  await using attempt = new ServerAttempt();
  mkdirSync(attempt.stateDirectory);
  using _disk = new SmallDisk(attempt.stateDirectory, 100);
  const failure = await attempt.start();
  expect(failure.exitCode).toBe(1);
  expect(failure.said).toEqual([
    expect.stringMatching(/^error: The filesystem of .*state has \d+ MiB free; at least \d+ MiB are needed/),
    expect.stringMatching(/^next: {2}Free disk space.*--state-dir/),
  ]);
  expect(failure.tookMs).toBeLessThan(20_000);
});

test("a create that finds the disk full says so and leaves nothing; with room again it works", async () => {
  await using server = await RealServer.start({ stateDiskMib: 1024 });
  const kept = await server.client.createSession(small);
  await server.client.execute(kept.sessionId, "kept = 1");
  for (const leaveKib of [0, 4, 16, 256, 1024, 2048, 3072]) {
    const ballast = fill(server.stateDirectory, leaveKib * kib);
    const create = server.client.createSession(small);
    const outcome = await create.then(
      ({ sessionId }) => sessionId,
      (error: unknown) => error,
    );
    if (typeof outcome !== "string")
      expect(outcome, `${String(leaveKib)} KiB left`).toMatchObject({ code: "disk_full", status: 503 });
    if (leaveKib === 0) expect(outcome).not.toBeTypeOf("string");
    expect(await server.client.execute(kept.sessionId, "print(kept)")).toMatchObject({
      stdout: "1\n",
      vmId: kept.vmId,
    });
    rmSync(ballast);
    if (typeof outcome === "string") await server.client.kill(outcome);
    expect(await witnesses(server, 1)).toEqual({ api: [kept.vmId], directories: [kept.vmId], processes: [kept.vmId] });
  }
  const { sessionId } = await server.client.createSession(small);
  expect(await server.client.execute(sessionId, "print(2)")).toMatchObject({ stdout: "2\n" });
});

test("a session can be killed while the disk is full", async () => {
  await using server = await RealServer.start({ stateDiskMib: 1024 });
  const sessions = [await server.client.createSession(small), await server.client.createSession(small)];
  const ballast = fill(server.stateDirectory, 0);
  for (const { sessionId } of sessions) await server.client.kill(sessionId);
  expect(await witnesses(server, 0)).toEqual({ api: [], directories: [], processes: [] });
  rmSync(ballast);
});

test("what runs in a VM gets an I/O error from a full host disk, goes on, and writes when there is room again", async () => {
  await using server = await RealServer.start({ stateDiskMib: 1024 });
  const { sessionId, vmId } = await server.client.createSession(small);
  await server.client.execute(sessionId, "kept = 1");
  const write = async (name: string): Promise<{ readonly exitCode: number; readonly stderr: string }> =>
    await server.client.execute(sessionId, `dd if=/dev/urandom of=/app/${name} bs=1M count=32 conv=fsync`, {
      language: "bash",
      timeoutS: 120,
    });
  const ballast = fill(server.stateDirectory, 8 * 1024 * kib);
  expect(await write("big")).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("Input/output error") });
  expect(await server.client.execute(sessionId, "print(kept)")).toMatchObject({ stdout: "1\n", vmId });
  rmSync(ballast);
  expect(await server.client.execute(sessionId, "rm /app/big", { language: "bash" })).toMatchObject({ exitCode: 0 });
  expect(await write("fits")).toMatchObject({ exitCode: 0 });
  expect(await server.client.createSession(small)).toMatchObject({ start: "clone" });
});

const fourBuildsMs = 600_000;

test(
  "a template that finds no room fails its create with disk_full and is made when there is room",
  templateWithoutRoom,
  fourBuildsMs,
);

async function templateWithoutRoom(): Promise<void> {
  using cache = new OwnCache();
  await using server = await RealServer.start({ flags: ["--cache-dir", cache.directory] });
  for (const roomMib of [1, 24, 60]) {
    using _disk = new SmallDisk(cache.templatesDirectory, roomMib);
    await expect(server.client.createSession(small), `${String(roomMib)} MiB`).rejects.toMatchObject({
      code: "disk_full",
      next: expect.stringContaining("--cache-dir"),
    });
    expect(cache.templates()).toEqual([]);
    expect(await witnesses(server, 0)).toEqual({ api: [], directories: [], processes: [] });
  }
  const { sessionId } = await server.client.createSession({ ...small, timeoutMs: fourBuildsMs });
  expect(await server.client.execute(sessionId, "print(1)")).toMatchObject({ stdout: "1\n" });
}
