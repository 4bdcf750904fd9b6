import { sessionIdSchema, vmIdSchema } from "@instavm/contract";
import { SeededChance } from "@instavm/testkit";
import { expect, test } from "vitest";
import { newSessionId, newVmId } from "./ids.ts";

test("a VM's id is 20 letters and digits, a letter first, and no two are alike", () => {
  const chance = new SeededChance();
  const ids = Array.from({ length: 1000 }, () => newVmId(chance));
  expect(ids.every((id) => vmIdSchema.safeParse(id).success)).toBe(true);
  expect(new Set(ids).size).toBe(1000);
});

test("every letter and digit turns up equally often", () => {
  const chance = new SeededChance(7);
  const counts = new Map<string, number>();
  for (let made = 0; made < 2000; made += 1) {
    for (const character of newVmId(chance).slice(1)) counts.set(character, (counts.get(character) ?? 0) + 1);
  }
  const expected = (2000 * 19) / 36;
  expect(counts.size).toBe(36);
  expect(Math.max(...counts.values())).toBeLessThan(expected * 1.2);
  expect(Math.min(...counts.values())).toBeGreaterThan(expected * 0.8);
});

test("bytes that would favour some letters are drawn again", () => {
  let draws = 0;
  const bytes = (length: number): Uint8Array => new Uint8Array(length).fill((draws += 1) === 1 ? 255 : 0);
  expect(newVmId({ bytes, uuid: () => "" })).toBe("a".repeat(20));
  expect(draws).toBe(2);
});

test("a session's id is a UUID", () => {
  expect(sessionIdSchema.safeParse(newSessionId(new SeededChance())).success).toBe(true);
});
