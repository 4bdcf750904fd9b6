import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { expect, test } from "vitest";
import { takeLock } from "./build-lock.ts";
import { scratch } from "./testing/scratch.ts";

test("the second waits for the first, and learns who holds the lock", async () => {
  await using place = await scratch();
  const path = join(place.path, "sub/lock");
  const first = await takeLock(path, { timeoutMs: 10_000 });
  const holders: string[] = [];
  const order: string[] = [];
  const second = takeLock(path, { timeoutMs: 20_000, onWait: (holder) => holders.push(holder) }).then((lock) => {
    order.push("second");
    return lock;
  });
  await expect.poll(() => holders, { timeout: 10_000 }).toEqual([String(process.pid)]);
  order.push("first leaves");
  await first[Symbol.asyncDispose]();
  await (await second)[Symbol.asyncDispose]();
  expect(order).toEqual(["first leaves", "second"]);
});

test("a wait that is over or aborted leaves the lock to its holder", async () => {
  await using place = await scratch();
  const path = join(place.path, "lock");
  await using _held = await takeLock(path, { timeoutMs: 10_000 });
  await expect(takeLock(path, { timeoutMs: 200 })).rejects.toMatchObject({
    code: "conflict",
    message: expect.stringContaining(`process ${process.pid}`),
  });
  const stop = new AbortController();
  const waiting = takeLock(path, { timeoutMs: 10_000, signal: stop.signal });
  stop.abort(new Error("enough"));
  await expect(waiting).rejects.toThrow("enough");
});

test("a holder that is killed frees the lock", async () => {
  await using place = await scratch();
  const path = join(place.path, "lock");
  const code = `
    const { takeLock } = await import(${JSON.stringify(join(import.meta.dirname, "build-lock.ts"))});
    await takeLock(${JSON.stringify(path)}, { timeoutMs: 10_000 });
    console.log("held");
    setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ["--input-type=module", "-e", code], { stdio: ["ignore", "pipe", "inherit"] });
  const gone = once(holder, "exit");
  await once(holder.stdout, "data");
  holder.kill("SIGKILL");
  await gone;
  await using _lock = await takeLock(path, { timeoutMs: 10_000 });
  expect(holder.signalCode).toBe("SIGKILL");
});
