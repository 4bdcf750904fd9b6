/** What the probe's guest prints when it has done its work. */
export const probeMarker = "InstaVM";

/** Where the firmware's last 64 KiB appear below 1 MiB, and the CPU's first instruction in them. */
const sizeBytes = 0x1_0000;
const resetOffset = 0xfff0;

/**
 * The guest's program: from real mode to 64-bit mode with paging on, then work, then the marker on the serial
 * port, then an undefined instruction with no handler: the CPU shuts down, and QEMU ends.
 *
 * The work is the point. There are hosts whose KVM runs such a guest correctly but a million times too slowly;
 * 20 million turns of a loop and 3 584 pages touched for the first time take a working KVM some 20 ms.
 */
const program: readonly (readonly [bytes: string, meaning: string])[] = [
  // 16 bit, at f000:0000
  ["fa", "cli"],
  ["2e 66 0f 01 16 df 00", "lgdt cs:[gdtr]"],
  ["66 b8 11 00 00 00", "mov eax, 0x11"],
  ["0f 22 c0", "mov cr0, eax            ; protected mode"],
  ["66 ea 19 00 0f 00 08 00", "jmp 0x08:entry32"],
  // 32 bit
  ["b8 10 00 00 00", "entry32: mov eax, 0x10"],
  ["8e d8", "mov ds, eax"],
  ["8e c0", "mov es, eax"],
  ["8e d0", "mov ss, eax"],
  ["31 c0", "xor eax, eax            ; page tables: 0x1000 -> 0x2000 -> 0x3000, cleared"],
  ["bf 00 10 00 00", "mov edi, 0x1000"],
  ["b9 00 0c 00 00", "mov ecx, 0xc00"],
  ["fc", "cld"],
  ["f3 ab", "rep stosd"],
  ["c7 05 00 10 00 00 03 20 00 00", "mov dword [0x1000], 0x2003"],
  ["c7 05 00 20 00 00 03 30 00 00", "mov dword [0x2000], 0x3003"],
  ["bf 00 30 00 00", "mov edi, 0x3000         ; the first GiB in pages of 2 MiB"],
  ["b8 83 00 00 00", "mov eax, 0x83"],
  ["89 07", "fill: mov [edi], eax"],
  ["05 00 00 20 00", "add eax, 0x200000"],
  ["83 c7 08", "add edi, 8"],
  ["81 ff 00 40 00 00", "cmp edi, 0x4000"],
  ["72 ee", "jb fill"],
  ["b8 20 00 00 00", "mov eax, 0x20"],
  ["0f 22 e0", "mov cr4, eax            ; PAE"],
  ["b8 00 10 00 00", "mov eax, 0x1000"],
  ["0f 22 d8", "mov cr3, eax"],
  ["b9 80 00 00 c0", "mov ecx, 0xc0000080     ; EFER"],
  ["0f 32", "rdmsr"],
  ["80 cc 01", "or ah, 1                ; long mode"],
  ["0f 30", "wrmsr"],
  ["b8 11 00 00 80", "mov eax, 0x80000011"],
  ["0f 22 c0", "mov cr0, eax            ; paging"],
  ["ea 8e 00 0f 00 18 00", "jmp 0x18:entry64"],
  // 64 bit
  ["b9 00 2d 31 01", "entry64: mov ecx, 20000000"],
  ["ff c9", "count: dec ecx"],
  ["75 fc", "jnz count"],
  ["bf 00 00 10 00", "mov edi, 0x100000       ; a write to each page from 1 to 15 MiB"],
  ["89 3f", "touch: mov [rdi], edi"],
  ["81 c7 00 10 00 00", "add edi, 0x1000"],
  ["81 ff 00 00 f0 00", "cmp edi, 0xf00000"],
  ["72 f0", "jb touch"],
  ["be e5 00 0f 00", "mov esi, marker"],
  ["b9 07 00 00 00", "mov ecx, 7"],
  ["66 ba f8 03", "mov dx, 0x3f8           ; the serial port"],
  ["f3 6e", "rep outsb"],
  ["0f 0b", "ud2                     ; no handler: triple fault, the machine resets, QEMU ends"],
  ["90", "nop"],
  // 0xbf: descriptors
  ["00 00 00 00 00 00 00 00", "gdt: null"],
  ["ff ff 00 00 00 9b cf 00", "0x08: 32-bit code"],
  ["ff ff 00 00 00 93 cf 00", "0x10: data"],
  ["ff ff 00 00 00 9b af 00", "0x18: 64-bit code"],
  // 0xdf
  ["1f 00 bf 00 0f 00", "gdtr: 32 bytes at 0xf00bf"],
  // 0xe5
  [Buffer.from(probeMarker, "latin1").toString("hex"), "marker"],
];

/** The firmware image of the probe's guest. */
export function buildProbeFirmware(): Uint8Array {
  const image = Buffer.alloc(sizeBytes);
  Buffer.from(program.map(([bytes]) => bytes.replaceAll(" ", "")).join(""), "hex").copy(image);
  // The CPU starts 16 bytes below the end: jmp to offset 0.
  Buffer.from("e90d00", "hex").copy(image, resetOffset);
  return image;
}

/** The memory the guest needs, in MiB. */
export const probeMemoryMib = 16;
