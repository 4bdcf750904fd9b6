import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { inventory, whatIsNew } from "./inventory.ts";

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "instavm-inventory-"));
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

test("a process, a socket and a file that a run leaves behind are found", async () => {
  const before = inventory(directory);
  const child = spawn("sleep", ["60"], { env: { TMPDIR: directory }, stdio: "ignore" });
  await once(child, "spawn");
  const server = createServer().listen(join(directory, "left.sock"));
  await once(server, "listening");
  writeFileSync(join(directory, "left.txt"), "");
  const left = whatIsNew(before, inventory(directory)).join("\n");
  child.kill();
  server.close();
  expect(left).toContain(`process ${String(child.pid)}: sleep 60`);
  expect(left).toContain(`socket ${directory}/left.sock`);
  expect(left).toContain(`file ${directory}/left.txt`);
});

test("another run's process and the caches of tools do not count", async () => {
  const before = inventory(directory);
  const child = spawn("sleep", ["60"], { env: { TMPDIR: "/elsewhere" }, stdio: "ignore" });
  await once(child, "spawn");
  writeFileSync(join(directory, "node-compile-cache"), "");
  const left = whatIsNew(before, inventory(directory));
  child.kill();
  expect(left.filter((item) => !item.startsWith("network") && !item.startsWith("mount"))).toEqual([]);
});
