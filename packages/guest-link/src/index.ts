export { type AgentLinkOptions, type ConnectOptions, GuestLink } from "./agent-link.ts";
export type { LinkedSession } from "./agent-session.ts";
