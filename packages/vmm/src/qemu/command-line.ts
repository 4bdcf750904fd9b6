import { join } from "node:path";
import type { Shape } from "@instavm/contract";
import type { BootFiles } from "@instavm/core";
import type { QemuAccelerator } from "./accelerator-probe.ts";
import { kernelCommandLine } from "./kernel-command-line.ts";

/** What a saved state depends on: equal for the machine that saved and the one that loads. */
interface Hardware {
  readonly accelerator: QemuAccelerator;
  readonly shape: Shape;
}

/** The files of one VM, absolute. */
interface MachineFiles {
  /** The VM's own: sockets, disk and log. */
  readonly directory: string;
  readonly rootfsPath: string;
  readonly memoryPath: string;
}

/** A cold boot. */
export interface BootCommand {
  readonly hardware: Hardware;
  readonly files: MachineFiles;
  readonly boot: Pick<BootFiles, "kernelPath" | "initrdPath">;
  readonly tscKhz: number;
}

/** A start from saved state. */
export interface CloneCommand {
  readonly hardware: Hardware;
  readonly files: MachineFiles;
  /** Then its sockets are the launcher's, under the numbers of `machineListeners`. */
  readonly isForkable?: boolean;
  /** Then it waits to be told to load the state (`migrate-incoming`). */
  readonly isDeferred?: boolean;
}

/** Names in a VM's directory. */
export const machineFileNames = {
  agentSocket: "agent.sock",
  qmpSocket: "qmp.sock",
  disk: "disk.raw",
  console: "console.log",
  /** A link to the file that a clone's memory is mapped from. */
  base: "base",
  /** What QEMU itself says; the launcher makes it. */
  log: "vm.log",
} as const;

/**
 * QEMU's own small firmware, by its name in QEMU's data directory. With ACPI the default is SeaBIOS, with which (1.16.3, QEMU 10.0)
 * a guest of exactly 2048 MiB never comes to its kernel.
 */
const bootFirmware = "qboot.rom";

/** The descriptor under which a clone finds its device state. */
export const stateFd = 3;
/** As QEMU is told of it. */
export const stateSource = `fd:${stateFd}`;

/** The sockets of a machine that can be forked, by their numbers in its process. */
export const machineListeners = [
  { fd: 4, name: machineFileNames.agentSocket },
  { fd: 5, name: machineFileNames.qmpSocket },
] as const;

/** An option of QEMU and its value. */
type Option = readonly [name: string, value?: string];

/** The arguments of a QEMU that boots a kernel, its memory shared with the file so that the file is the memory. */
export function bootArguments(command: BootCommand): readonly string[] {
  const { hardware, files, boot, tscKhz } = command;
  const options: readonly Option[] = [
    ...machineOptions({ hardware, files }, "on"),
    ["-bios", bootFirmware],
    ["-kernel", boot.kernelPath],
    ["-initrd", boot.initrdPath],
    ["-append", kernelCommandLine({ accelerator: hardware.accelerator, tscKhz })],
    // Only our own image boots, and it is quiet.
    ["-chardev", `file,id=console,path=${escaped(join(files.directory, machineFileNames.console))}`],
  ];
  return options.flatMap((option) => option.filter((part) => part !== undefined));
}

/**
 * The arguments of a QEMU that continues a saved state, on a private copy of its memory. No kernel and no initrd:
 * a restored guest never reads them, and they cost 12 ms and 13 MiB.
 */
export function cloneArguments(command: CloneCommand): readonly string[] {
  const options: readonly Option[] = [
    ...machineOptions(command, "off"),
    // What runs in a clone could write to its console for ever.
    ["-chardev", "null,id=console"],
    ["-incoming", command.isDeferred === true ? "defer" : stateSource],
  ];
  return options.flatMap((option) => option.filter((part) => part !== undefined));
}

function machineOptions(command: CloneCommand, shareMemory: "on" | "off"): readonly Option[] {
  const { hardware, files } = command;
  const { vcpuCount, memoryMib } = hardware.shape;
  return [
    ["-M", machineType],
    ...accelerationOptions(hardware.accelerator),
    ["-smp", `cpus=${vcpuCount},sockets=1,cores=${vcpuCount},threads=1`],
    ["-m", `${memoryMib}M`],
    [
      "-object",
      `memory-backend-file,id=ram0,size=${memoryMib}M,mem-path=${escaped(files.memoryPath)},share=${shareMemory}`,
    ],
    ...fixedOptions,
    [
      "-sandbox",
      command.isForkable === true ? forkableSandbox : `${forkableSandbox},elevateprivileges=deny,spawn=deny`,
    ],
    ...diskOptions(files),
    ["-device", "isa-serial,chardev=console"],
    ...socketOptions(command.isForkable === true ? inheritedSockets : ownSockets(files.directory)),
  ];
}

/**
 * A machine of virtio-mmio devices and little else. The memory is a file of ours; the state carries neither its
 * own description nor the options, which would refuse a state for a different `share`. Eight device slots are
 * enough (no second IO-APIC); the PIT only wakes an idle emulator 25 times a second. Memory is neither offered
 * for merging nor dumped.
 */
const machineType =
  "microvm,acpi=on,memory-backend=ram0,suppress-vmdesc=on,ioapic2=off,pit=off,mem-merge=off,dump-guest-core=off";

const fixedOptions: readonly Option[] = [
  ["-global", "migration.send-configuration=off"],
  ["-global", "virtio-mmio.force-legacy=false"],
  ["-nodefaults"],
  ["-no-user-config"],
  ["-display", "none"],
  // A guest that restarts ends: its kernel and initrd are not there any more.
  ["-no-reboot"],
];

/**
 * QEMU's own `spawn=deny` forbids the fork too, and `elevateprivileges=deny` the child's session of its own; the fork
 * library then forbids what starts a program, with which no privilege is gained either.
 */
const forkableSandbox = "on,obsolete=deny,resourcecontrol=deny";

function accelerationOptions(accelerator: QemuAccelerator): readonly Option[] {
  if (accelerator === "kvm") {
    return [
      ["-accel", "kvm"],
      ["-cpu", "host"],
    ];
  }
  return [
    // The limit of translated code, in MiB; QEMU's own is 1 GiB for each VM.
    ["-accel", "tcg,thread=multi,tb-size=256"],
    // Emulated five-level page tables would only make every walk longer.
    ["-cpu", "max,-la57"],
  ];
}

/**
 * vda is one file for all VMs: read-only, and without a lock, which nobody could contradict. vdb is the VM's own:
 * it lives no longer than its VM, so a flush need not reach the platter, and what the guest discards is freed.
 * Requests run on threads: neither kernel AIO nor an io_uring could be taken along when a process is forked.
 * A full host disk is an I/O error in the guest, not a VM that stops.
 */
function diskOptions(files: MachineFiles): readonly Option[] {
  const [image, disk] = [escaped(files.rootfsPath), escaped(join(files.directory, machineFileNames.disk))];
  return [
    ["-blockdev", `driver=file,node-name=vda,filename=${image},read-only=on,locking=off,aio=threads`],
    ["-device", "virtio-blk-device,drive=vda"],
    ["-blockdev", `driver=file,node-name=vdb,filename=${disk},aio=threads,cache.no-flush=on,discard=unmap`],
    ["-device", "virtio-blk-device,drive=vdb,rerror=report,werror=report"],
  ];
}

/** Where a machine listens, as QEMU is told: a path to make, or a socket that is there. */
interface SocketAddresses {
  readonly agent: string;
  readonly qmp: string;
}

const inheritedSockets: SocketAddresses = {
  agent: `fd=${machineListeners[0].fd}`,
  qmp: `fd=${machineListeners[1].fd}`,
};

function ownSockets(directory: string): SocketAddresses {
  const path = (name: string): string => `path=${escaped(join(directory, name))}`;
  return { agent: path(machineFileNames.agentSocket), qmp: path(machineFileNames.qmpSocket) };
}

function socketOptions({ agent, qmp }: SocketAddresses): readonly Option[] {
  return [
    ["-chardev", `socket,id=agent,${agent},server=on,wait=off`],
    ["-device", "virtio-serial-device,max_ports=2"],
    ["-device", "virtserialport,chardev=agent,name=instavm.agent"],
    ["-chardev", `socket,id=qmp,${qmp},server=on,wait=off`],
    ["-mon", "chardev=qmp,mode=control"],
  ];
}

/** QEMU ends an option's value at a comma; two stand for one. */
function escaped(path: string): string {
  return path.replaceAll(",", ",,");
}
