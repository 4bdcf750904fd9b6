export {
  createPlatform,
  defaultSettings,
  type Platform,
  type PlatformPorts,
  type PlatformSettings,
} from "./platform.ts";
export * from "./commands/commands.ts";
export * from "./contexts/contexts.ts";
export * from "./executions/executions.ts";
export * from "./files/files.ts";
export * from "./idempotency/idempotent-calls.ts";
export * from "./ports/agent-exec.ts";
export * from "./ports/answer-records.ts";
export * from "./ports/agent-files.ts";
export * from "./ports/agent-contexts.ts";
export * from "./ports/agent-link.ts";
export * from "./ports/agent-processes.ts";
export * from "./ports/check.ts";
export * from "./ports/engine.ts";
export * from "./ports/execution-records.ts";
export * from "./ports/files.ts";
export * from "./ports/records.ts";
export * from "./ports/surroundings.ts";
export * from "./ports/waiting.ts";
export type { VmReference } from "./sessions/own-vms.ts";
export * from "./sessions/sessions.ts";
export { poolWarmUp, templateWarmUp, type WarmUpStep, zygoteWarmUp } from "./templates/warm-up-steps.ts";
export * from "./keys/keys.ts";
export { createKeys, type KeyParts } from "./keys/key-service.ts";
export * from "./vm/vm-status.ts";
export * from "./vms/vms.ts";
