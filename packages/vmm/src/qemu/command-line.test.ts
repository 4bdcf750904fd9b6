import { expect, test } from "vitest";
import { bootArguments, cloneArguments } from "./command-line.ts";
import type { BootCommand } from "./command-line.ts";
import { kernelCommandLine } from "./kernel-command-line.ts";

const command: BootCommand = {
  hardware: { accelerator: "tcg", shape: { vcpuCount: 4, memoryMib: 768 } },
  files: { directory: "/s/vms/a", rootfsPath: "/i/root,fs", memoryPath: "/t/memory" },
  boot: { kernelPath: "/i/vmlinuz", initrdPath: "/i/initrd" },
  tscKhz: 2_445_404,
};

/** The values that follow an option, in order. */
function valuesOf(args: readonly string[], option: string): readonly string[] {
  return args.flatMap((arg, index) => (args[index - 1] === option ? [arg] : []));
}

/** Without what a boot and a clone may differ in. */
function machineOf(args: readonly string[]): readonly string[] {
  const own = new Set(["-bios", "-kernel", "-initrd", "-append", "-incoming"]);
  return args.flatMap((arg, index) => {
    const option = args[index - 1] ?? "";
    if (own.has(arg) || own.has(option) || arg.includes("id=console")) return [];
    return [arg.replace(/share=(on|off)/, "share")];
  });
}

test("a clone is the machine that was saved, but for where memory goes and the console", () => {
  expect(machineOf(cloneArguments(command))).toEqual(machineOf(bootArguments(command)));
});

test("a boot shares its memory with the file; a clone leaves the file alone", () => {
  expect(valuesOf(bootArguments(command), "-object")).toEqual([
    expect.stringContaining("size=768M,mem-path=/t/memory,share=on"),
  ]);
  expect(valuesOf(cloneArguments(command), "-object")).toEqual([expect.stringContaining("share=off")]);
});

test("a clone reads its state from the inherited descriptor and names no kernel", () => {
  const args = cloneArguments(command);
  expect(valuesOf(args, "-incoming")).toEqual(["fd:3"]);
  for (const option of ["-bios", "-kernel", "-initrd", "-append", "-S"]) expect(args).not.toContain(option);
});

test("the image is read-only and shared without a lock, the disk is the VM's own", () => {
  const [image, disk] = valuesOf(cloneArguments(command), "-blockdev");
  expect(image).toContain("node-name=vda,filename=/i/root,,fs,read-only=on,locking=off");
  expect(disk).toContain("node-name=vdb,filename=/s/vms/a/disk.raw");
  expect(disk).not.toContain("read-only");
});

test("nothing is there that was not asked for, and nothing outlives a restart of the guest", () => {
  const args = bootArguments(command);
  for (const option of ["-nodefaults", "-no-user-config", "-no-reboot"]) expect(args).toContain(option);
  expect(valuesOf(args, "-sandbox")).toEqual([expect.stringContaining("spawn=deny")]);
});

test("what a clone's guest writes to its console is not kept", () => {
  expect(valuesOf(cloneArguments(command), "-chardev")).toContain("null,id=console");
  expect(valuesOf(bootArguments(command), "-chardev")).toContain("file,id=console,path=/s/vms/a/console.log");
});

test("under KVM the guest gets the host's CPU", () => {
  const args = cloneArguments({ ...command, hardware: { ...command.hardware, accelerator: "kvm" } });
  expect(valuesOf(args, "-accel")).toEqual(["kvm"]);
  expect(valuesOf(args, "-cpu")).toEqual(["host"]);
});

test("an emulated kernel is told the counter's rate, any kernel restarts on a panic", () => {
  const emulated = kernelCommandLine({ accelerator: "tcg", tscKhz: 2_445_404 }).split(" ");
  expect(emulated).toEqual(
    expect.arrayContaining(["tsc_early_khz=2445404", "tsc=reliable", "no_timer_check", "panic=-1", "reboot=t"]),
  );
  const native = kernelCommandLine({ accelerator: "kvm", tscKhz: 2_445_404 });
  expect(native).not.toContain("tsc");
  expect(native).toContain("panic=-1");
});
