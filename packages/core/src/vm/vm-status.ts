/** Every state of a VM as clients see it. */
export const vmStatuses = [
  "creating",
  "active",
  "suspending",
  "suspended",
  "resuming",
  "terminated",
  "failed",
] as const;
export type VmStatus = (typeof vmStatuses)[number];

/** The only transitions there are. */
export const vmTransitions: Readonly<Record<VmStatus, readonly VmStatus[]>> = {
  creating: ["active", "failed", "terminated"],
  active: ["suspending", "terminated", "failed"],
  suspending: ["suspended", "active", "failed", "terminated"],
  suspended: ["resuming", "terminated", "failed"],
  resuming: ["active", "suspended", "failed", "terminated"],
  terminated: [],
  failed: [],
};

/** Whether a VM may go from one state to another. */
export function canBecome(from: VmStatus, to: VmStatus): boolean {
  return vmTransitions[from].includes(to);
}
