import { mkdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { InstaVmError } from "@instavm/contract";
import type { Log, Waiting } from "@instavm/core";
import { once, untilAborted } from "@instavm/process";
import { z } from "zod";
import { probeAccelerator } from "./accelerator-probe.ts";
import { findQemu, readQemu } from "./qemu-program.ts";
import { measureTscKhz, tscProgramPath } from "./tsc-rate.ts";

/** What was found out about this host; holds until it boots again or QEMU changes. */
export type HostProbe = z.infer<typeof probeSchema>;

const probeSchema = z.object({
  bootId: z.string(),
  qemu: z.object({ path: z.string(), version: z.string(), major: z.int(), build: z.string() }),
  /** Of the QEMU program, so that an upgrade is seen without running it. */
  qemuChangedMs: z.number(),
  accelerator: z.enum(["kvm", "tcg"]),
  reason: z.string(),
  tscKhz: z.int().positive(),
});

/** What the probe needs. */
export interface HostProbeOptions {
  /** Default: the first on PATH. */
  readonly qemuPath?: string | undefined;
  /** The program that measures the time stamp counter; default: beside the launcher's. */
  readonly tscProgramPath?: string | undefined;
  /** Where the findings are kept. */
  readonly cacheDir: string;
  readonly log: Log;
}

const cacheName = "host-probe.json";

/**
 * Probes once per boot of the host and version of QEMU; the findings are in a file for the next server. One probe
 * serves all who wait for it; who aborts only leaves. Throws `host_setup`.
 */
export function rememberHost(options: HostProbeOptions): (waiting?: Waiting) => Promise<HostProbe> {
  const probe = once(() => probeHost(options));
  return async ({ signal } = {}) => await (signal === undefined ? probe() : untilAborted(probe, signal));
}

async function probeHost(options: HostProbeOptions): Promise<HostProbe> {
  const qemuPath = await findQemu(options.qemuPath);
  const key = { bootId: await readBootId(), qemuPath, qemuChangedMs: (await stat(qemuPath)).mtimeMs };
  const cached = await readCache(options.cacheDir);
  if (cached?.bootId === key.bootId && cached.qemu.path === qemuPath && cached.qemuChangedMs === key.qemuChangedMs) {
    return cached;
  }
  const [qemu, probed, tscKhz] = await Promise.all([
    readQemu(qemuPath),
    probeAccelerator({ qemuPath }),
    measureTscKhz(options.tscProgramPath ?? tscProgramPath()),
  ]);
  const probe = { bootId: key.bootId, qemu, qemuChangedMs: key.qemuChangedMs, ...probed, tscKhz };
  options.log.info("host_probed", { qemu: qemu.build, accelerator: probe.accelerator, reason: probe.reason, tscKhz });
  await writeCache(options, probe);
  return probe;
}

/** undefined when there is none that can be used. */
async function readCache(cacheDir: string): Promise<HostProbe | undefined> {
  try {
    return probeSchema.parse(JSON.parse(await readFile(join(cacheDir, cacheName), "utf8")));
  } catch {
    return undefined; // absent, or written by another release: probing again costs a second
  }
}

async function writeCache({ cacheDir, log }: HostProbeOptions, probe: HostProbe): Promise<void> {
  const path = join(cacheDir, cacheName);
  const draft = `${path}.${process.pid}`;
  try {
    await mkdir(cacheDir, { recursive: true, mode: 0o700 });
    await writeFile(draft, `${JSON.stringify(probe, undefined, 2)}\n`, { mode: 0o600 });
    await rename(draft, path);
  } catch (error) {
    // Without the file the next server probes again, and nothing else is lost.
    log.warn("host_probe_not_cached", { path, error: String(error) });
  }
}

async function readBootId(): Promise<string> {
  const path = "/proc/sys/kernel/random/boot_id";
  try {
    return (await readFile(path, "utf8")).trim();
  } catch (error) {
    throw new InstaVmError("host_setup", `${path} cannot be read; expected /proc to be mounted.`, { cause: error });
  }
}
