import { constants } from "node:fs";
import { access, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Waiting } from "@instavm/core";
import { CommandNotStarted, DeadlineExceeded, runCommand, withDeadline } from "@instavm/process";
import type { CommandResult } from "@instavm/process";
import { buildProbeFirmware, probeMarker, probeMemoryMib } from "./probe-firmware.ts";

/** What QEMU runs vCPUs with. */
export type QemuAccelerator = "kvm" | "tcg";

/** The accelerator that works, and why no faster one does. */
export interface ProbedAccelerator {
  readonly accelerator: QemuAccelerator;
  /** One sentence. */
  readonly reason: string;
}

/** What the probe looks at. */
export interface ProbeTarget {
  readonly qemuPath: string;
  /** Default `/dev/kvm`. */
  readonly kvmPath?: string;
}

/** How long the probe's guest may take, from the start of its QEMU. A working KVM needs a tenth. */
const guestTimeoutMs = 2_000;
/** Beyond the guest's time: SIGTERM, SIGKILL, and a process that hangs in the kernel is left to itself. */
const endTimeoutMs = guestTimeoutMs + 5_000;

/**
 * Finds the accelerator. `/dev/kvm` that opens is no proof: there are hosts on which it accepts a VM and then runs it
 * a million times too slowly, so a small guest must do some work in time. Takes at most 7 s, throws only when aborted.
 */
export async function probeAccelerator(target: ProbeTarget, waiting: Waiting = {}): Promise<ProbedAccelerator> {
  const device = target.kvmPath ?? "/dev/kvm";
  const closed = await whyNotOpen(device);
  if (closed !== undefined) return emulation(closed);
  const failed = await whyGuestFails(target.qemuPath, "kvm", waiting);
  if (failed !== undefined) return emulation(`${device} opens, but ${failed}.`);
  return { accelerator: "kvm", reason: `${device} ran the probe's guest.` };
}

function emulation(why: string): ProbedAccelerator {
  return { accelerator: "tcg", reason: `${why} VMs run under emulation (TCG).` };
}

async function whyNotOpen(device: string): Promise<string | undefined> {
  try {
    await access(device, constants.R_OK | constants.W_OK);
    return undefined;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
    return code === "ENOENT" ? `There is no ${device}.` : `${device} cannot be opened (${code}).`;
  }
}

/** Runs the probe's guest; undefined when it did its work in time, else why not: a clause. */
export async function whyGuestFails(
  qemuPath: string,
  accelerator: QemuAccelerator,
  waiting: Waiting = {},
): Promise<string | undefined> {
  const directory = await mkdtemp(join(tmpdir(), "instavm-probe-"));
  try {
    const firmwarePath = join(directory, "firmware");
    await writeFile(firmwarePath, buildProbeFirmware());
    const argv = [qemuPath, ...probeArguments(accelerator, firmwarePath)] as const;
    const result = await withDeadline(
      (signal) => runCommand(argv, { timeoutMs: guestTimeoutMs, signal, outputLimitBytes: 4096 }),
      { subject: "the probe's QEMU", timeoutMs: endTimeoutMs, signal: waiting.signal },
    );
    return whyResultFails(result);
  } catch (error) {
    if (error instanceof CommandNotStarted) return `QEMU does not start (${error.reason})`;
    if (error instanceof DeadlineExceeded) return "the probe's QEMU could not be ended: it hangs in the kernel";
    throw error;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function whyResultFails(result: CommandResult): string | undefined {
  if (result.stdout.includes(probeMarker)) return undefined;
  if (result.timedOut)
    return `a small guest that works within milliseconds elsewhere had not finished after ${guestTimeoutMs} ms`;
  const said =
    result.stderr
      .trim()
      .split("\n")
      .find((line) => line.includes("error")) ?? result.stderr.trim();
  const how =
    result.signal === undefined ? `ended with exit code ${String(result.exitCode)}` : `was ended by ${result.signal}`;
  return `QEMU ${how} before its guest had finished (${said.slice(0, 200)})`;
}

function probeArguments(accelerator: QemuAccelerator, firmwarePath: string): readonly string[] {
  // The CPU model that VMs get: what only it breaks must break the probe.
  const cpu = accelerator === "kvm" ? "host" : "max";
  const options = [
    ["-M", "microvm,acpi=off,pit=off,pic=off,rtc=off"],
    ["-accel", accelerator],
    ["-cpu", cpu],
    ["-m", String(probeMemoryMib)],
    ["-nodefaults", "-no-user-config", "-no-reboot"],
    ["-display", "none"],
    ["-bios", firmwarePath],
    ["-chardev", "stdio,id=marker"],
    ["-device", "isa-serial,chardev=marker"],
  ];
  return options.flat();
}
