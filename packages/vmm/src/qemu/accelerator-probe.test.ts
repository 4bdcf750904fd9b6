import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { probeAccelerator, whyGuestFails } from "./accelerator-probe.ts";
import { buildProbeFirmware, probeMarker } from "./probe-firmware.ts";
import { findQemu } from "./qemu-program.ts";

test("the firmware is 64 KiB, starts at its reset vector and ends in the marker", () => {
  const image = Buffer.from(buildProbeFirmware());
  expect(image.length).toBe(65_536);
  // A near jump: where it ends wraps around to the image's beginning.
  expect((0xfff0 + 3 + image.readUInt16LE(0xfff1)) & 0xffff).toBe(0);
  expect(image.indexOf(probeMarker)).toBe(0xe5);
});

test("a guest that works prints its marker and ends by itself", async () => {
  // Under emulation, since that works everywhere: the same program, the same judgement.
  await expect(whyGuestFails(await findQemu(), "tcg", {})).resolves.toBeUndefined();
});

test("without the device the reason names it", async () => {
  const probed = await probeAccelerator({ qemuPath: await findQemu(), kvmPath: "/dev/no-such-kvm" });
  expect(probed).toEqual({
    accelerator: "tcg",
    reason: "There is no /dev/no-such-kvm. VMs run under emulation (TCG).",
  });
});

test("a QEMU that never answers is given up and named", async () => {
  await using hanging = await script("exec sleep 60");
  const started = performance.now();
  const why = await whyGuestFails(hanging.path, "kvm");
  expect(why).toContain("had not finished after 2000 ms");
  expect(performance.now() - started).toBeLessThan(6_000);
});

test("a QEMU that aborts is quoted", async () => {
  await using aborting = await script("echo 'error: failed to set MSR 0x10a to 0x69' >&2; exit 1");
  await expect(whyGuestFails(aborting.path, "kvm")).resolves.toBe(
    "QEMU ended with exit code 1 before its guest had finished (error: failed to set MSR 0x10a to 0x69)",
  );
});

test("the answer on this host comes in time and says why", async () => {
  const probed = await probeAccelerator({ qemuPath: await findQemu() });
  expect(["kvm", "tcg"]).toContain(probed.accelerator);
  expect(probed.reason).toMatch(/\.$/);
});

async function script(body: string): Promise<{ readonly path: string } & AsyncDisposable> {
  const directory = await mkdtemp(join(tmpdir(), "instavm-probe-test-"));
  const path = join(directory, "qemu");
  await writeFile(path, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  return { path, [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }) };
}
