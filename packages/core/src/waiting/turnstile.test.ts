import { settle } from "@instavm/testkit";
import { expect, test } from "vitest";
import { Turnstile } from "./turnstile.ts";

test("lets the limit pass and the others in the order in which they came", async () => {
  const turnstile = new Turnstile(2);
  const inside: number[] = [];
  const passes = new Map<number, Disposable>();
  const enter = async (number: number): Promise<void> => {
    const pass = await turnstile.enter();
    inside.push(number);
    passes.set(number, pass);
  };
  const all = [1, 2, 3, 4].map((number) => enter(number));
  await settle();
  expect(inside).toEqual([1, 2]);
  passes.get(2)?.[Symbol.dispose]();
  await settle();
  expect(inside).toEqual([1, 2, 3]);
  passes.get(1)?.[Symbol.dispose]();
  await Promise.all(all);
  expect(inside).toEqual([1, 2, 3, 4]);
});

test("leaving twice makes room once", async () => {
  const turnstile = new Turnstile(1);
  const pass = await turnstile.enter();
  pass[Symbol.dispose]();
  pass[Symbol.dispose]();
  await turnstile.enter();
  let isInside = false;
  void turnstile.enter().then(() => (isInside = true));
  await settle();
  expect(isInside).toBe(false);
});

test("who gives up loses its place, also in the moment in which it is let in", async () => {
  const turnstile = new Turnstile(1);
  const first = await turnstile.enter();
  const early = new AbortController();
  const late = new AbortController();
  const gaveUpEarly = turnstile.enter(early.signal);
  const gaveUpLate = turnstile.enter(late.signal);
  const last = turnstile.enter();
  early.abort(new Error("early"));
  await expect(gaveUpEarly).rejects.toThrow("early");
  late.abort(new Error("late"));
  first[Symbol.dispose]();
  await expect(gaveUpLate).rejects.toThrow("late");
  await expect(last).resolves.toBeDefined();
});
