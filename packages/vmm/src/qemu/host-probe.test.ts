import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RecordingLog } from "@instavm/testkit";
import { expect, test } from "vitest";
import { fingerprintOf } from "./fingerprint.ts";
import { rememberHost } from "./host-probe.ts";
import type { HostProbe, HostProbeOptions } from "./host-probe.ts";
import { measureTscKhz } from "./tsc-rate.ts";

test("the host is probed once, and the next server reads what was found", async () => {
  await using room = await openRoom();
  const probe = await rememberHost(room.options)();
  expect(probe).toMatchObject({ tscKhz: 2_445_404, qemu: { path: expect.stringMatching(/^\//) } });
  expect(room.log.count("host_probed")).toBe(1);
  expect(await rememberHost(room.options)()).toEqual(probe);
  expect(room.log.count("host_probed")).toBe(1);
});

test("callers at once share one probe, and one that leaves does not end it", async () => {
  await using room = await openRoom();
  const host = rememberHost(room.options);
  const leaving = host({ signal: AbortSignal.abort(new Error("left")) });
  await expect(leaving).rejects.toThrow("left");
  await Promise.all([host(), host(), host()]);
  expect(room.log.count("host_probed")).toBe(1);
});

test.each([
  ["of another boot", (kept: string) => kept.replace(/"bootId": "[^"]*"/, '"bootId": "another"')],
  ["of another QEMU", (kept: string) => kept.replace(/"qemuChangedMs": [\d.]+/, '"qemuChangedMs": 1')],
  ["that is broken", (kept: string) => kept.slice(0, 40)],
])("a finding %s is not believed", async (_name, spoil) => {
  await using room = await openRoom();
  await rememberHost(room.options)();
  await writeFile(room.cachePath, spoil(await readFile(room.cachePath, "utf8")));
  await rememberHost(room.options)();
  expect(room.log.count("host_probed")).toBe(2);
});

test("a directory that cannot be written costs only the next probe", async () => {
  await using room = await openRoom();
  await rememberHost(room.options)();
  await rememberHost({ ...room.options, cacheDir: join(room.cachePath, "below-a-file") })();
  expect(room.log.count("host_probe_not_cached")).toBe(1);
});

test("a counter that cannot be measured is an error with the command that helps", async () => {
  const missing = { code: "host_setup", next: "Run: cargo build --release" };
  await expect(measureTscKhz("/nowhere/tsc")).rejects.toMatchObject(missing);
  await expect(measureTscKhz("/bin/echo")).rejects.toThrow("expected a number of kHz");
  await expect(measureTscKhz("/bin/false")).rejects.toThrow("exited with 1");
});

test("a fingerprint is one line that changes with what a state depends on", async () => {
  const qemu = { path: "/q", version: "7.2.22", major: 7, build: "7.2.22 (Debian 1)" };
  const probe: HostProbe = { bootId: "b", qemu, qemuChangedMs: 1, accelerator: "tcg", reason: "r", tscKhz: 2_445_404 };
  const print = await fingerprintOf(probe);
  expect(print).toMatch(/^qemu 7\.2\.22 \(Debian 1\); microvm [0-9a-f]{12}; tcg; counter at 2445 MHz$/);
  expect(await fingerprintOf({ ...probe, bootId: "c", reason: "other", tscKhz: 2_445_410 })).toBe(print);
  const others = [{ qemu: { ...qemu, build: "7.2.23" } }, { accelerator: "kvm" as const }, { tscKhz: 3_000_000 }];
  for (const other of others) expect(await fingerprintOf({ ...probe, ...other })).not.toBe(print);
});

interface Room extends AsyncDisposable {
  readonly options: HostProbeOptions;
  readonly log: RecordingLog;
  readonly cachePath: string;
}

/** A host whose counter runs at a known rate. */
async function openRoom(): Promise<Room> {
  const directory = await mkdtemp(join(tmpdir(), "instavm-host-"));
  const tscProgramPath = join(directory, "tsc");
  await writeFile(tscProgramPath, "#!/bin/sh\necho 2445404\n", { mode: 0o755 });
  const [log, cacheDir] = [new RecordingLog(), join(directory, "cache")];
  return {
    options: { tscProgramPath, cacheDir, log },
    log,
    cachePath: join(cacheDir, "host-probe.json"),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}
