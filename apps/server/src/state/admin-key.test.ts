import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeResource } from "@instavm/process";
import { generateKey, hashKey, openStore } from "@instavm/store";
import type { Store } from "@instavm/store";
import { describe, expect, it } from "vitest";
import { ensureAdminKey } from "./admin-key.ts";

interface Place extends AsyncDisposable {
  readonly directory: string;
  readonly keyPath: string;
  readonly store: Store;
  readonly ensure: () => Promise<void>;
}

async function makePlace(): Promise<Place> {
  const directory = await mkdtemp(join(tmpdir(), "instavm-key-"));
  const keyPath = join(directory, "admin-key");
  const store = await openStore({ path: join(directory, "records.db") });
  const ensure = async (): Promise<void> =>
    ensureAdminKey({ path: keyPath, keys: store.keys, generate: generateKey, hash: hashKey });
  return makeResource({ directory, keyPath, store, ensure }, async () => {
    await store.close();
    await rm(directory, { recursive: true });
  });
}

describe("the admin's key", () => {
  it("is made once, for its owner's eyes only", async () => {
    await using place = await makePlace();
    await place.ensure();
    const key = (await readFile(place.keyPath, "utf8")).trim();
    expect((await stat(place.keyPath)).mode & 0o777).toBe(0o600);
    expect(await place.store.keys.findByHash(hashKey(key))).toMatchObject({ role: "admin", revokedAtMs: undefined });
    await place.ensure();
    expect((await readFile(place.keyPath, "utf8")).trim()).toBe(key);
    expect(await place.store.keys.list()).toHaveLength(1);
    expect((await readdir(place.directory)).filter((name) => name.startsWith("admin-key"))).toEqual(["admin-key"]);
  });

  it("is recorded from its file when the records do not know it", async () => {
    await using place = await makePlace();
    const key = generateKey();
    await writeFile(place.keyPath, key);
    await writeFile(`${place.keyPath}.new`, "half a k");
    await place.ensure();
    expect(await place.store.keys.findByHash(hashKey(key))).toMatchObject({ role: "admin" });
  });

  it("stays revoked", async () => {
    await using place = await makePlace();
    await place.ensure();
    const [record] = await place.store.keys.list();
    if (record !== undefined) await place.store.keys.revoke(record.keyId, 1);
    await place.ensure();
    expect(await place.store.keys.list()).toMatchObject([{ revokedAtMs: 1 }]);
  });

  it("is not read from a file that holds something else", async () => {
    await using place = await makePlace();
    await writeFile(place.keyPath, "\0\0\0");
    await expect(place.ensure()).rejects.toMatchObject({
      code: "host_setup",
      next: expect.stringContaining("Remove it"),
    });
  });
});
