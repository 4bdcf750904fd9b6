import { z } from "zod";

/** How many vCPUs a VM can have. */
export const vcpuCountSchema = z.literal([1, 2, 4, 6, 8]);
export type VcpuCount = z.infer<typeof vcpuCountSchema>;

/** A VM's memory in MiB. */
export const memoryMibSchema = z.int().min(128).max(8192);

/** The size of a VM. */
export interface Shape {
  readonly vcpuCount: VcpuCount;
  readonly memoryMib: number;
}

export const defaultShape: Shape = { vcpuCount: 2, memoryMib: 512 };
