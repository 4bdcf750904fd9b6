export { engineChecks } from "./qemu/engine-checks.ts";
export type { EngineCheckOptions } from "./qemu/engine-checks.ts";
export { createQemuEngine } from "./qemu/qemu-engine.ts";
export type { QemuEngineOptions } from "./qemu/qemu-engine.ts";
export type { ProcessStart, VmProcess, VmProcesses } from "./qemu/vm-processes.ts";
