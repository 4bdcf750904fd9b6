export { InstaVmError } from "@instavm/contract";
export type { ErrorCode, FieldError } from "@instavm/contract";
export type * from "./answers.ts";
export { InstaVm } from "./client.ts";
export type { CreateSessionOptions, ExecuteOptions, InstaVmOptions, ListSessionsOptions } from "./client.ts";
export type { CallOptions } from "./transport.ts";
