import { access, readFile } from "node:fs/promises";
import { InstaVmError } from "@instavm/contract";
import type { Check } from "@instavm/core";
import { forkLibraryPath } from "../launcher/binary-path.ts";
import { probeAccelerator } from "./accelerator-probe.ts";
import type { QemuAccelerator } from "./accelerator-probe.ts";
import { findQemu, installQemuCommand, oldestQemu, readQemu } from "./qemu-program.ts";
import type { QemuProgram } from "./qemu-program.ts";
import { measureTscKhz, tscProgramPath } from "./tsc-rate.ts";

/** Where the prerequisites are looked for. */
export interface EngineCheckOptions {
  /** Default: beside the launcher's. */
  readonly tscProgramPath?: string | undefined;
  /** Default: the first `qemu-system-x86_64` on PATH. */
  readonly qemuPath?: string | undefined;
  /** Default: beside the launcher's program. */
  readonly forkLibraryPath?: string | undefined;
}

/** Below it the first template does not come up. */
const memoryNeededMib = 1_024;

/** The engine's prerequisites, looked at anew. Never rejects for a missing one: it is in the answer. */
export async function engineChecks(options: EngineCheckOptions = {}): Promise<readonly Check[]> {
  const qemu = await attempt(async () => await readQemu(await findQemu(options.qemuPath)));
  const others = await Promise.all([
    ...(qemu instanceof InstaVmError ? [] : [checkAccelerator(qemu, options)]),
    checkClock(options.tscProgramPath ?? tscProgramPath()),
    checkMemory(),
  ]);
  return [checkQemu(qemu), ...others.flat()];
}

function checkQemu(qemu: QemuProgram | InstaVmError): Check {
  const subject = "QEMU";
  const expected = `${oldestQemu.major}.${oldestQemu.minor} or newer`;
  if (qemu instanceof InstaVmError) {
    return { subject, outcome: "failed", seen: qemu.message, expected, remedy: installQemuCommand };
  }
  return { subject, outcome: "ok", seen: `${qemu.build} at ${qemu.path}`, expected, remedy: "" };
}

async function checkAccelerator(qemu: QemuProgram, options: EngineCheckOptions): Promise<readonly Check[]> {
  const { accelerator, reason } = await probeAccelerator({ qemuPath: qemu.path });
  const subject = "hardware virtualization";
  const expected = "KVM; VMs work without it, slower";
  const fork = await checkFork(accelerator, options.forkLibraryPath ?? forkLibraryPath());
  if (accelerator === "kvm") return [{ subject, outcome: "ok", seen: `KVM: ${reason}`, expected, remedy: "" }, fork];
  return [{ subject, outcome: "warning", seen: reason, expected, remedy: "" }, fork];
}

async function checkFork(accelerator: QemuAccelerator, libraryPath: string): Promise<Check> {
  const row = { subject: "fork of VM processes", expected: "under emulation; under KVM files are cloned" } as const;
  if (accelerator === "kvm")
    return { ...row, outcome: "ok", seen: "not used: a VM under KVM cannot be forked", remedy: "" };
  try {
    await access(libraryPath);
    return { ...row, outcome: "ok", seen: libraryPath, remedy: "" };
  } catch {
    return {
      ...row,
      outcome: "warning",
      seen: `no library at ${libraryPath}: starts are file clones`,
      remedy: "script/setup",
    };
  }
}

async function checkClock(programPath: string): Promise<Check> {
  const subject = "time stamp counter";
  const expected = "a rate that can be measured";
  const khz = await attempt(() => measureTscKhz(programPath));
  if (khz instanceof InstaVmError) return { subject, outcome: "failed", seen: khz.message, expected, remedy: khz.next };
  return { subject, outcome: "ok", seen: `${khz} kHz`, expected, remedy: "" };
}

async function checkMemory(): Promise<Check> {
  const subject = "free memory";
  const expected = `${memoryNeededMib} MiB or more`;
  const availableMib = await readAvailableMib();
  if (availableMib === undefined) {
    return {
      subject,
      outcome: "warning",
      seen: "/proc/meminfo cannot be read",
      expected,
      remedy: "mount -t proc proc /proc",
    };
  }
  const enough = availableMib >= memoryNeededMib;
  return {
    subject,
    outcome: enough ? "ok" : "warning",
    seen: `${availableMib} MiB`,
    expected,
    remedy: enough ? "" : "End other programs, or use smaller VMs (memory_mb).",
  };
}

async function readAvailableMib(): Promise<number | undefined> {
  const text = await readFile("/proc/meminfo", "utf8").catch(() => "");
  const kib = /^MemAvailable:\s+(\d+) kB$/m.exec(text)?.[1];
  return kib === undefined ? undefined : Math.floor(Number(kib) / 1024);
}

/** The value, or the InstaVmError that stands in its way. */
async function attempt<T>(find: () => Promise<T>): Promise<T | InstaVmError> {
  try {
    return await find();
  } catch (error) {
    if (error instanceof InstaVmError) return error;
    throw error;
  }
}
