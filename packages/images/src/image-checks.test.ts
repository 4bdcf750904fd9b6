import { join } from "node:path";
import { expect, test } from "vitest";
import { imageChecks } from "./image-checks.ts";
import { fakeRootFilesystem, tinyRecipe } from "./testing/fake-root.ts";
import { scratch } from "./testing/scratch.ts";

test("an image that is not built is a failure with its remedy; a built one is described", async () => {
  await using place = await scratch();
  const recipe = await tinyRecipe(place.path);
  const before = await imageChecks({ cacheDirectory: place.path, recipe });
  expect(before.find((check) => check.subject === "base image")).toMatchObject({
    outcome: "failed",
    seen: "not built",
    remedy: "script/setup",
  });
  await fakeRootFilesystem(place.path, recipe);
  const after = await imageChecks({ cacheDirectory: place.path, recipe });
  expect(after.find((check) => check.subject === "base image")).toMatchObject({
    outcome: "ok",
    seen: "0 MiB, kernel 6.1.0-test",
    remedy: "",
  });
});

test("space is looked at where the cache would be, even before it exists", async () => {
  await using place = await scratch();
  const recipe = await tinyRecipe(place.path);
  const checks = await imageChecks({ cacheDirectory: join(place.path, "not/yet"), recipe });
  expect(checks.map((check) => check.subject)).toEqual([
    "image tools",
    "base image",
    "disk space for images and templates",
  ]);
  expect(checks[2]?.seen).toContain(place.path);
});

test("a recipe that cannot be read is said, not thrown", async () => {
  await using place = await scratch();
  const recipe = { directory: join(place.path, "none"), interpreterDirectory: place.path };
  const checks = await imageChecks({ cacheDirectory: place.path, recipe });
  expect(checks[1]).toMatchObject({ outcome: "failed", seen: expect.stringContaining("it is missing") });
});
