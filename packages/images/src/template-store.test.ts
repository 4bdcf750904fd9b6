import { mkdir, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Log, TemplateDraft, TemplateKey } from "@instavm/core";
import { expect, test } from "vitest";
import { openTemplateStore } from "./template-store.ts";
import { scratch } from "./testing/scratch.ts";

const key: TemplateKey = {
  imageDigest: "a".repeat(64),
  engineFingerprint: "qemu 7.2.22 tcg",
  shape: { vcpuCount: 2, memoryMib: 512 },
  warmth: "1",
};
const rootfsPath = "/images/rootfs.erofs";

function silentLog(): Log & { readonly warnings: string[] } {
  const warnings: string[] = [];
  return {
    warnings,
    info: () => {},
    error: () => {},
    warn: (event, fields) => warnings.push(`${event} ${String(fields?.["reason"])}`),
  };
}

async function fill(draft: TemplateDraft): Promise<TemplateDraft> {
  await writeFile(draft.files.memoryPath, "memory");
  await writeFile(draft.files.statePath, "state");
  await writeFile(draft.files.diskPath, "disk");
  return draft;
}

test("a committed template is found by its key, also by a later store", async () => {
  await using place = await scratch();
  const store = openTemplateStore({ cacheDirectory: place.path, log: silentLog() });
  expect(await store.find(key, rootfsPath)).toBeUndefined();
  const draft = await fill(await store.draft(key, rootfsPath));
  const made = await draft.commit();
  const later = openTemplateStore({ cacheDirectory: place.path, log: silentLog() });
  expect(await later.find(key, rootfsPath)).toEqual(made);
  expect(await readFile(made.files.memoryPath, "utf8")).toBe("memory");
  expect(made).toMatchObject({ key, rootfsPath });
});

test("any part of the key that differs is another template", async () => {
  await using place = await scratch();
  const store = openTemplateStore({ cacheDirectory: place.path, log: silentLog() });
  await (await fill(await store.draft(key, rootfsPath))).commit();
  for (const other of [
    { ...key, imageDigest: "b".repeat(64) },
    { ...key, engineFingerprint: "qemu 10.0 tcg" },
    { ...key, shape: { vcpuCount: 2, memoryMib: 513 } },
    { ...key, shape: { vcpuCount: 4, memoryMib: 512 } },
    { ...key, warmth: "2" },
  ] satisfies TemplateKey[]) {
    expect(await store.find(other, rootfsPath)).toBeUndefined();
  }
});

test("a draft is invisible until its commit and gone after its discard", async () => {
  await using place = await scratch();
  const store = openTemplateStore({ cacheDirectory: place.path, log: silentLog() });
  const draft = await fill(await store.draft(key, rootfsPath));
  expect(await store.find(key, rootfsPath)).toBeUndefined();
  await draft.discard();
  await draft.discard();
  expect(await readdir(join(place.path, "templates"))).toEqual([]);
});

test("a draft without all its files is not committed", async () => {
  await using place = await scratch();
  const store = openTemplateStore({ cacheDirectory: place.path, log: silentLog() });
  const draft = await fill(await store.draft(key, rootfsPath));
  await rm(draft.files.statePath);
  await expect(draft.commit()).rejects.toMatchObject({ code: "internal" });
  expect(await store.find(key, rootfsPath)).toBeUndefined();
});

test("a second commit of the same key replaces the first", async () => {
  await using place = await scratch();
  const store = openTemplateStore({ cacheDirectory: place.path, log: silentLog() });
  const first = await fill(await store.draft(key, rootfsPath));
  const second = await fill(await store.draft(key, rootfsPath));
  await first.commit();
  await writeFile(second.files.memoryPath, "newer!");
  await second.commit();
  const found = await store.find(key, rootfsPath);
  expect(await readFile(found?.files.memoryPath ?? "", "utf8")).toBe("newer!");
});

test("of many commits of one key at once one is found, whole, and nothing else is left", async () => {
  await using place = await scratch();
  const store = openTemplateStore({ cacheDirectory: place.path, log: silentLog() });
  for (let round = 0; round < 10; round++) {
    const drafts = await Promise.all(Array.from({ length: 6 }, () => store.draft(key, rootfsPath)));
    await Promise.all(
      drafts.map(async ({ files }, index) => {
        const { memoryPath, statePath, diskPath } = files;
        for (const path of [memoryPath, statePath, diskPath]) await writeFile(path, `${round}:${index}`);
      }),
    );
    await Promise.all(drafts.map((draft) => draft.commit()));
    const found = await store.find(key, rootfsPath);
    const paths = [found?.files.memoryPath, found?.files.statePath, found?.files.diskPath];
    const texts = await Promise.all(paths.map((path) => readFile(path ?? "", "utf8")));
    expect(new Set(texts).size).toBe(1);
    expect(texts[0]).toMatch(new RegExp(`^${round}:`));
    expect(await readdir(join(place.path, "templates"))).toHaveLength(1);
  }
});

test("a template that was damaged counts as absent, and the log says why", async () => {
  const damages: readonly (readonly [why: string, damage: (directory: string) => Promise<void>])[] = [
    ["its state file is missing", (directory) => rm(join(directory, "state"))],
    ["its memory file has 2 bytes, its manifest says 6", (directory) => truncate(join(directory, "mem"), 2)],
    ["it is no JSON", (directory) => writeFile(join(directory, "manifest.json"), "{")],
    ["version: ", (directory) => writeFile(join(directory, "manifest.json"), '{"version":9}')],
  ];
  for (const [why, damage] of damages) {
    await using place = await scratch();
    const log = silentLog();
    const store = openTemplateStore({ cacheDirectory: place.path, log });
    const made = await (await fill(await store.draft(key, rootfsPath))).commit();
    await damage(join(made.files.memoryPath, ".."));
    expect(await store.find(key, rootfsPath)).toBeUndefined();
    expect(log.warnings).toEqual([expect.stringContaining(`template_unusable ${why}`)]);
  }
});

test("a sweep removes what a killed server left, and leaves alone what a running one makes", async () => {
  await using place = await scratch();
  const store = openTemplateStore({ cacheDirectory: place.path, log: silentLog() });
  await (await fill(await store.draft(key, rootfsPath))).commit();
  const mine = await store.draft({ ...key, warmth: "2" }, rootfsPath);
  await mkdir(join(place.path, "templates/.draft-4194999-1-killed/sub"), { recursive: true });
  expect(await store.sweep()).toBe(1);
  await fill(mine);
  await mine.commit();
  expect(await store.sweep()).toBe(0);
  expect(await store.find(key, rootfsPath)).toBeDefined();
  expect(await readdir(join(place.path, "templates"))).toHaveLength(2);
});

test("a sweep of a store that was never used finds nothing", async () => {
  await using place = await scratch();
  expect(await openTemplateStore({ cacheDirectory: place.path, log: silentLog() }).sweep()).toBe(0);
});
