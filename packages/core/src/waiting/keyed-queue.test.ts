import { settle } from "@instavm/testkit";
import { expect, test } from "vitest";
import { KeyedQueue } from "./keyed-queue.ts";

test("work of one key runs one after the other, in order", async () => {
  const queue = new KeyedQueue<string>();
  const seen: string[] = [];
  const first = Promise.withResolvers<void>();
  const one = queue.run("a", async () => {
    seen.push("one begins");
    await first.promise;
    seen.push("one ends");
  });
  const two = queue.run("a", async () => void seen.push("two"));
  await settle();
  expect(seen).toEqual(["one begins"]);
  first.resolve();
  await Promise.all([one, two]);
  expect(seen).toEqual(["one begins", "one ends", "two"]);
});

test("another key does not wait", async () => {
  const queue = new KeyedQueue<string>();
  const blocked = Promise.withResolvers<void>();
  const one = queue.run("a", () => blocked.promise);
  await expect(queue.run("b", async () => "done")).resolves.toBe("done");
  blocked.resolve();
  await one;
});

test("a failure reaches its caller and holds nobody up", async () => {
  const queue = new KeyedQueue<string>();
  const failing = queue.run("a", () => Promise.reject(new Error("planned")));
  const next = queue.run("a", async () => "next");
  await expect(failing).rejects.toThrow("planned");
  await expect(next).resolves.toBe("next");
  expect(queue.isBusy("a")).toBe(false);
});

test("who gives up its wait never runs, and those behind it still wait for those before it", async () => {
  const queue = new KeyedQueue<string>();
  const seen: string[] = [];
  const first = Promise.withResolvers<void>();
  const one = queue.run("a", () => first.promise);
  const giveUp = new AbortController();
  const two = queue.run("a", async () => void seen.push("two"), giveUp.signal);
  const three = queue.run("a", async () => void seen.push("three"));
  giveUp.abort(new Error("gave up"));
  await expect(two).rejects.toThrow("gave up");
  await settle();
  expect(seen).toEqual([]);
  first.resolve();
  await Promise.all([one, three]);
  expect(seen).toEqual(["three"]);
});

test("an actor in the background skips a busy key", async () => {
  const queue = new KeyedQueue<string>();
  const blocked = Promise.withResolvers<void>();
  const one = queue.run("a", () => blocked.promise);
  expect(queue.tryRun("a", async () => "ran")).toBeUndefined();
  blocked.resolve();
  await one;
  await settle();
  await expect(queue.tryRun("a", async () => "ran")).resolves.toBe("ran");
});
