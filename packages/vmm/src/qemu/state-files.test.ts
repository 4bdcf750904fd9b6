import { mkdtemp, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { copyDisk } from "./disk-copy.ts";
import { checkPresent, checkSocketPaths, checkState, makeMemoryFile } from "./state-files.ts";

test("a memory file is all holes and gone again unless it is kept", async () => {
  await using directory = await temporaryDirectory();
  const path = join(directory.path, "memory");
  {
    await using _dropped = await makeMemoryFile(path, 64);
    expect(await stat(path)).toMatchObject({ size: 64 * 1024 * 1024, blocks: 0 });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  }
  await expect(stat(path)).rejects.toThrow("ENOENT");
  {
    await using kept = await makeMemoryFile(path, 64);
    kept.keep();
  }
  expect((await stat(path)).size).toBe(64 * 1024 * 1024);
  await expect(makeMemoryFile(path, 64)).rejects.toMatchObject({ code: "engine_failed" });
});

test("a state whose memory is missing, of another size, or whose device state is empty is refused", async () => {
  await using directory = await temporaryDirectory();
  const [memoryPath, statePath, diskPath] = ["memory", "state", "disk"].map((name) => join(directory.path, name));
  const source = { memoryPath: memoryPath ?? "", statePath: statePath ?? "", diskPath: diskPath ?? "" };
  await writeFile(source.statePath, "x");
  await expect(checkState(source, 1)).rejects.toThrow("ENOENT");
  await writeFile(source.memoryPath, "");
  await expect(checkState(source, 1)).rejects.toThrow("has 0 bytes; expected 1048576 for 1 MiB");
  await truncate(source.memoryPath, 1024 * 1024);
  await expect(checkState(source, 1)).resolves.toBeUndefined();
  await truncate(source.statePath, 0);
  await expect(checkState(source, 1)).rejects.toThrow("is empty");
});

test("a file that is missing is named", async () => {
  await expect(checkPresent(["/proc/version", "/nowhere/vmlinuz"])).rejects.toThrow("/nowhere/vmlinuz");
});

test("a directory whose sockets would not fit is refused with what to do", () => {
  expect(() => checkSocketPaths(`/${"d".repeat(90)}`)).not.toThrow();
  expect(() => checkSocketPaths(`/${"d".repeat(100)}`)).toThrow(
    expect.objectContaining({ next: expect.stringContaining("--state-dir") }),
  );
});

test("a disk's copy has its bytes and its holes", async () => {
  await using directory = await temporaryDirectory();
  const [from, to] = [join(directory.path, "from"), join(directory.path, "to")];
  await writeFile(from, "x".repeat(4096));
  await truncate(from, 64 * 1024 * 1024);
  await copyDisk({ from, to });
  const copy = await stat(to);
  expect(copy.size).toBe(64 * 1024 * 1024);
  expect(copy.blocks).toBeLessThan(64);
  await expect(copyDisk({ from: "/nowhere", to })).rejects.toMatchObject({ code: "engine_failed" });
});

async function temporaryDirectory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "instavm-state-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
