import { z } from "zod";
import { keyIdSchema } from "./ids.ts";
import { labelLimit } from "./limits.ts";
import { timeSchema } from "./time.ts";

const descriptionSchema = z.string().max(labelLimit);

/** What a key may do: `user` its own sessions and VMs; `admin` also the keys of others and the server's figures. */
export const keyRoleSchema = z.enum(["admin", "user"]);

/** Body of POST /v1/api-keys. */
export const createKeyRequestSchema = z.object({
  description: descriptionSchema.default("").meta({ description: "What the key is for." }),
  role: keyRoleSchema.default("user"),
});

/** Body of PATCH /v1/api-keys/{key_id}. */
export const updateKeyRequestSchema = z.object({ description: descriptionSchema.optional() });

/** A key without the key itself, which is stored nowhere. */
export const apiKeySchema = z.object({
  id: keyIdSchema,
  key_id: keyIdSchema,
  description: z.string(),
  role: keyRoleSchema,
  created_at: timeSchema,
  last_used_at: timeSchema.nullable().meta({ description: "Some seconds of it may be lost when the server dies." }),
  revoked_at: timeSchema.nullable(),
  is_active: z.boolean(),
  is_current: z.boolean().meta({ description: "It is the key of this request." }),
});
export type ApiKey = z.infer<typeof apiKeySchema>;

/** Answer of POST /v1/api-keys. */
export const createdKeySchema = apiKeySchema.extend({
  key: z.string().meta({
    description: "The key itself: shown this once.",
    examples: ["ivm_rS0meRand0mTextThatIsShown0nlyThisOneTime"],
  }),
});
export type CreatedKey = z.infer<typeof createdKeySchema>;

/** Query of GET /v1/api-keys. */
export const listKeysQuerySchema = z.object({
  include_revoked: z.enum(["true", "false"]).default("false"),
});

/** Answer of DELETE /v1/api-keys/{key_id}. */
export const revokedKeySchema = z.object({
  message: z.string(),
  id: keyIdSchema,
  key_id: keyIdSchema,
  status: z.literal("revoked"),
});
export type RevokedKey = z.infer<typeof revokedKeySchema>;

/** Answer of GET /v1/ssh-keys. */
export const sshKeysSchema = z.object({
  keys: z.array(z.object({ id: z.int(), fingerprint: z.string(), comment: z.string(), name: z.string() })),
});

/** Answer of GET /v1/users/me. A key stands for its user: this server keeps no accounts. */
export const currentUserSchema = z.object({
  id: keyIdSchema,
  name: z.string().meta({ description: "The key's description." }),
  email: z.string().nullable().meta({ description: "Always null: this server keeps no mail addresses." }),
  is_verified: z.boolean(),
  role: keyRoleSchema,
});
export type CurrentUser = z.infer<typeof currentUserSchema>;
