import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { cloneArguments } from "./command-line.ts";
import type { HostProbe } from "./host-probe.ts";
import { kernelCommandLine } from "./kernel-command-line.ts";

/**
 * All that a saved state depends on besides shape and image, in one line: QEMU's build, the accelerator, the CPU that
 * the guest sees, the rate of its counter, and our own command line.
 */
export async function fingerprintOf(probe: HostProbe): Promise<string> {
  const cpu = probe.accelerator === "kvm" ? await hostCpu() : `counter at ${Math.round(probe.tscKhz / 1000)} MHz`;
  return `qemu ${probe.qemu.build}; microvm ${machineDigest(probe)}; ${probe.accelerator}; ${cpu}`;
}

/** Changes with the command line, so that a release with another machine does not load this one's states. */
function machineDigest({ accelerator }: HostProbe): string {
  const shape = { vcpuCount: 2, memoryMib: 512 } as const;
  const files = { directory: "/vm", rootfsPath: "/rootfs", memoryPath: "/memory" };
  const machine = cloneArguments({ hardware: { accelerator, shape }, files });
  const kernel = kernelCommandLine({ accelerator, tscKhz: 0 });
  return createHash("sha256")
    .update([...machine, kernel].join("\n"))
    .digest("hex")
    .slice(0, 12);
}

/** Under KVM the guest sees the host's CPU. */
async function hostCpu(): Promise<string> {
  const text = await readFile("/proc/cpuinfo", "utf8");
  const field = (name: string): string => new RegExp(`^${name}\\s*: (.*)$`, "m").exec(text)?.[1] ?? "";
  const features = createHash("sha256").update(field("flags")).digest("hex").slice(0, 12);
  return `${field("model name")} (features ${features})`;
}
