import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { dependenciesOf, modulesInLoadOrder } from "./kernel-modules.ts";
import { scratch } from "./testing/scratch.ts";

async function kernel(directory: string, modules: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, depends] of Object.entries(modules)) {
    const target = join(directory, "kernel", path);
    await mkdir(join(target, ".."), { recursive: true });
    await writeFile(target, `\x7fELF\0license=GPL\0depends=${depends}\0name=x\0`);
  }
  await writeFile(join(directory, "modules.builtin"), "kernel/fs/ext4/ext4.ko\nkernel/lib/crc-t10dif.ko\n");
}

test("a module comes after all that it needs, and once", async () => {
  await using place = await scratch();
  await kernel(place.path, {
    "drivers/virtio/virtio.ko": "virtio_ring",
    "drivers/virtio/virtio_ring.ko": "",
    "drivers/virtio/virtio_mmio.ko": "virtio,virtio_ring",
    "drivers/char/hw_random/virtio-rng.ko": "virtio,virtio_ring,crc-t10dif",
  });
  const order = await modulesInLoadOrder(place.path, ["virtio_mmio", "virtio_rng", "ext4"]);
  expect(order.map((module) => module.name)).toEqual(["virtio_ring", "virtio", "virtio_mmio", "virtio_rng"]);
});

test("a module that the kernel does not have is named", async () => {
  await using place = await scratch();
  await kernel(place.path, { "a.ko": "" });
  await expect(modulesInLoadOrder(place.path, ["erofs"])).rejects.toMatchObject({
    code: "host_setup",
    message: expect.stringContaining("no module erofs"),
  });
});

test("a file without the field needs nothing", () => {
  expect(dependenciesOf(Buffer.from("\x7fELF and nothing more"))).toEqual([]);
});
