import { expect, test } from "vitest";
import { buildResource, defer, makeResource } from "./disposables.ts";

test("leaving the scope releases a resource, once", async () => {
  let releases = 0;
  {
    await using thing = makeResource({ name: "thing" }, () => void (releases += 1));
    expect(thing.name).toBe("thing");
    await thing[Symbol.asyncDispose]();
  }
  expect(releases).toBe(1);
});

test("deferred releases run in reverse order", async () => {
  const order: string[] = [];
  {
    await using _first = defer(() => void order.push("first"));
    await using _second = defer(async () => {
      await Promise.resolve();
      order.push("second");
    });
  }
  expect(order).toEqual(["second", "first"]);
});

test("a build that fails releases what it had acquired", async () => {
  const order: string[] = [];
  const build = buildResource(async (parts) => {
    parts.defer(() => void order.push("socket"));
    parts.defer(() => void order.push("process"));
    await Promise.resolve();
    throw new Error("no third part");
  });
  await expect(build).rejects.toThrow("no third part");
  expect(order).toEqual(["process", "socket"]);
});

test("a build that succeeds keeps its parts until the value is released", async () => {
  const order: string[] = [];
  const value = await buildResource(async (parts) => {
    parts.defer(() => void order.push("socket"));
    return Promise.resolve({ id: 7 });
  });
  expect([value.id, order.length]).toEqual([7, 0]);
  await value[Symbol.asyncDispose]();
  expect(order).toEqual(["socket"]);
});
