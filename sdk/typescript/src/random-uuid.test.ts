import { expect, test } from "vitest";
import { randomUuid } from "./random-uuid.ts";

test("UUIDs are random ones, of version 4", () => {
  const made = Array.from({ length: 1000 }, randomUuid);
  for (const uuid of made)
    expect(uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(new Set(made).size).toBe(1000);
});
