import { z } from "zod";

/** A session's id: a UUID in lower case. What a client holds; outlives VM restarts. */
export const sessionIdSchema = z
  .uuid()
  .toLowerCase()
  .meta({ examples: ["5b0f9b5c-3c07-4d53-9a0c-0d3d1e6f7a21"] })
  .brand<"SessionId">();
export type SessionId = z.infer<typeof sessionIdSchema>;

/** A VM's id: 20 lower-case letters and digits, the first a letter. A DNS label and never a UUID. */
export const vmIdSchema = z
  .string()
  .regex(/^[a-z][a-z0-9]{19}$/)
  .meta({ examples: ["q7v2kd0w9x3m1zr8tj5c"] })
  .brand<"VmId">();
export type VmId = z.infer<typeof vmIdSchema>;

/** An API key's id: a positive integer. Not the key itself. */
export const keyIdSchema = z
  .int()
  .positive()
  .meta({ examples: [2] })
  .brand<"KeyId">();
export type KeyId = z.infer<typeof keyIdSchema>;
