export {
  createPlatform,
  defaultSettings,
  type Platform,
  type PlatformPorts,
  type PlatformSettings,
} from "./platform.ts";
export * from "./ports/agent-link.ts";
export * from "./ports/check.ts";
export * from "./ports/engine.ts";
export * from "./ports/files.ts";
export * from "./ports/records.ts";
export * from "./ports/surroundings.ts";
export * from "./ports/waiting.ts";
export * from "./sessions/sessions.ts";
export { poolWarmUp, templateWarmUp, type WarmUpStep } from "./templates/warm-up-steps.ts";
export * from "./vm/vm-status.ts";
