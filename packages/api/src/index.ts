export { createApi } from "./api.ts";
export type { Api, ApiParts, ListenAddress, Patience } from "./api.ts";
export type { KeyLookup } from "./auth/authenticator.ts";
export type { HostFacts } from "./routes/host-routes.ts";
