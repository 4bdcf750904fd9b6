import type { QemuAccelerator } from "./accelerator-probe.ts";

/** What the guest's kernel must be told about this host. */
export interface KernelHost {
  readonly accelerator: QemuAccelerator;
  /** The host's time stamp counter, in kHz. An emulated guest sees this very counter. */
  readonly tscKhz: number;
}

/** Goes for every guest. */
const always = [
  "console=ttyS0",
  "quiet",
  // A dead guest is seen: panic restarts at once, and QEMU, told not to restart, ends. By triple fault, since the
  // reset register of ACPI does nothing in a guest that was restored.
  "panic=-1",
  "reboot=t",
  // What wakes an idle guest for nothing: the watchdog of stuck CPUs, memory compaction ahead of need twice a second,
  // statistics each second. Without them an idle emulated VM wakes 10 times a second instead of 40.
  "nowatchdog",
  "sysctl.vm.compaction_proactiveness=0",
  "sysctl.vm.stat_interval=10",
] as const;

/** The kernel's command line; its measurements are in docs/decisions/006. */
export function kernelCommandLine(host: KernelHost): string {
  return [...always, ...(host.accelerator === "tcg" ? emulated(host) : [])].join(" ");
}

function emulated(host: KernelHost): readonly string[] {
  return [
    // Measuring the counter against a timer hangs most boots of a busy host; the rate is given instead, and
    // believed, or the kernel would go back to a clock that costs CPU and makes short sleeps long.
    `tsc_early_khz=${host.tscKhz}`,
    "tsc=reliable",
    "no_timer_check",
    // QEMU 7.2 keeps translated code by virtual address: with a random layout every program that starts is translated
    // anew, at 2.5 times the CPU and with hundreds of MiB of translations. The wall around the code is the VM.
    "norandmaps",
  ];
}
