export { createApi } from "./api.ts";
export type { Api, ApiParts, ListenAddress, Patience } from "./api.ts";
export { hashApiKey, newApiKey } from "./auth/api-key.ts";
export type { HostFacts } from "./routes/host-routes.ts";
