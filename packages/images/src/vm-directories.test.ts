import { mkdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { vmIdSchema } from "@instavm/contract";
import { expect, test } from "vitest";
import { scratch } from "./testing/scratch.ts";
import { openVmDirectories } from "./vm-directories.ts";

const vmId = vmIdSchema.parse("a123456789012345678b");

test("a VM's directory is made, listed and removed", async () => {
  await using place = await scratch();
  const directories = await openVmDirectories({ stateDirectory: place.path });
  const path = await directories.create(vmId);
  expect(path).toBe(join(place.path, "vms", vmId));
  expect(path).toBe(directories.path(vmId));
  expect((await stat(path)).mode & 0o777).toBe(0o700);
  await writeFile(join(path, "console.log"), "x");
  expect(await directories.list()).toEqual([vmId]);
  await directories.remove(vmId);
  await directories.remove(vmId);
  expect(await directories.list()).toEqual([]);
});

test("a directory that exists is not made again", async () => {
  await using place = await scratch();
  const directories = await openVmDirectories({ stateDirectory: place.path });
  await directories.create(vmId);
  await expect(directories.create(vmId)).rejects.toMatchObject({ code: "EEXIST" });
});

test("what is no VM's directory is not listed", async () => {
  await using place = await scratch();
  const directories = await openVmDirectories({ stateDirectory: place.path });
  await mkdir(join(place.path, "vms/lost+found"));
  await directories.create(vmId);
  expect(await directories.list()).toEqual([vmId]);
});

test("a state directory too long for sockets is refused with the limit", async () => {
  await using place = await scratch();
  const long = join(place.path, "x".repeat(80));
  await expect(openVmDirectories({ stateDirectory: long })).rejects.toMatchObject({
    code: "host_setup",
    message: expect.stringMatching(/at most 61\.$/),
  });
  const fits = join(place.path, "y".repeat(61 - Buffer.byteLength(place.path) - 1));
  const directories = await openVmDirectories({ stateDirectory: fits });
  expect(Buffer.byteLength(directories.path(vmId)) + 22).toBe(108);
});
