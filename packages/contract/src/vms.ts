import { z } from "zod";
import { sessionIdSchema, vmIdSchema } from "./ids.ts";
import { laterField } from "./json-schema.ts";
import { forkCount, labelLimit, vmLifetimeS, vmRecordsLimit } from "./limits.ts";
import { envSchema, metadataSchema } from "./sessions.ts";
import { defaultShape, memoryMibSchema, vcpuCountSchema } from "./shape.ts";
import { timeSchema } from "./time.ts";

/** What a VM does now; up means `active`. */
export const vmStatusSchema = z.enum([
  "creating",
  "active",
  "suspending",
  "suspended",
  "resuming",
  "terminated",
  "failed",
]);

/** What people call a VM. Names need not be unique. */
export const vmNameSchema = z.string().min(1, "expected a name, got an empty text").max(labelLimit);

const later = { [laterField]: true };

/** What a VM can have in a later release. A value that asks for one of these is answered with 501; no document names them. */
const laterFields = {
  snapshot_id: z.string().nullish().meta(later),
  image_variant: z.enum(["standard", "computer-use", "nix-dev"]).nullish().meta(later),
  volumes: z.array(z.unknown()).nullish().meta(later),
  egress_policy: z.record(z.string(), z.unknown()).nullish().meta(later),
  vault_ids: z.array(z.unknown()).nullish().meta(later),
  auto_suspend: z.boolean().nullish().meta(later),
  auto_resume: z.boolean().nullish().meta(later),
  snapshot_on_terminate: z.boolean().nullish().meta(later),
  snapshot_name: z.string().nullish().meta(later),
  share: z.record(z.string(), z.unknown()).nullish().meta(later),
  custom_domain: z.unknown().optional().meta(later),
};

/** Query of POST /v1/vms, and of POST /v1/vms/{vm_id}/clone. */
export const createVmQuerySchema = z.object({
  wait: z
    .enum(["true", "false"])
    .default("true")
    .meta({ description: "Either way the answer comes when the VM is ready: that takes less time than to ask again." }),
});

/** Body of POST /v1/vms. The lifetime's upper limit is checked by the route: it is a 403, not a 422. */
export const createVmRequestSchema = z.object({
  vm_lifetime_seconds: z
    .int()
    .min(vmLifetimeS.min)
    .optional()
    .meta({ maximum: vmLifetimeS.max, description: `Without it ${vmLifetimeS.default}.` }),
  memory_mb: memoryMibSchema.optional().meta({ description: `Without it ${defaultShape.memoryMib}.` }),
  vcpu_count: vcpuCountSchema.optional().meta({ description: `Without it ${defaultShape.vcpuCount}.` }),
  name: vmNameSchema.nullish(),
  metadata: metadataSchema.nullish(),
  env: envSchema.nullish(),
  session_id: sessionIdSchema
    .nullish()
    .meta({ description: "An own session that gets the VM; one that has a live VM keeps it." }),
  ...laterFields,
});
export type CreateVmRequest = z.infer<typeof createVmRequestSchema>;

/** Body of PATCH /v1/vms/{vm_id}: what is given is changed. What cannot change is refused with 409. */
export const updateVmRequestSchema = z.strictObject({
  name: vmNameSchema.nullable().optional(),
  metadata: metadataSchema.optional().meta({ description: "Replaces all of the metadata." }),
  vm_lifetime_seconds: z
    .int()
    .min(vmLifetimeS.min)
    .optional()
    .meta({ maximum: vmLifetimeS.max, description: "Counted from the VM's creation, as at the create." }),
  memory_mb: memoryMibSchema.optional().meta({ description: "Cannot change while the VM runs." }),
  vcpu_count: vcpuCountSchema.optional().meta({ description: "Cannot change while the VM runs." }),
  env: envSchema.optional().meta({ description: "Cannot change while the VM runs." }),
  session_id: sessionIdSchema.optional().meta({ description: "Cannot change." }),
  ...laterFields,
});
export type UpdateVmRequest = z.infer<typeof updateVmRequestSchema>;

/** A VM as its owner sees it. */
export const vmSchema = z.object({
  id: vmIdSchema,
  vm_id: vmIdSchema,
  session_id: sessionIdSchema,
  name: z.string().nullable(),
  status: vmStatusSchema,
  created_at: timeSchema,
  expires_at: timeSchema,
  ended_at: timeSchema.nullable(),
  end_reason: z.string().nullable().meta({ description: "Why it ended, for a person." }),
  memory_mb: z.int(),
  vcpu_count: z.int(),
  vm_lifetime_seconds: z.int(),
  metadata: z.record(z.string(), z.unknown()),
  start: z.enum(["pool", "fork", "clone", "boot"]).meta({ description: "How it came to run." }),
  forked_from: vmIdSchema.nullable().meta({ description: "The VM whose copy it began as, by a fork or a clone." }),
  ssh_host: z.string().nullable().meta({ description: "Always null: this release has no SSH gateway." }),
  snapshot_id: z.string().nullable().meta({ description: "The snapshot that it was started from." }),
  snapshot_name: z.string().nullable(),
  snapshot_on_terminate: z.boolean(),
  auto_suspend: z.boolean(),
  auto_resume: z.boolean(),
  image_variant: z.literal("standard"),
  vault_ids: z.array(z.string()),
});
export type Vm = z.infer<typeof vmSchema>;

/** Body of POST /v1/vms/{vm_id}/fork. The lifetime's upper limit is checked by the route: it is a 403, not a 422. */
export const forkVmRequestSchema = z.strictObject({
  count: z.int().min(forkCount.min).max(forkCount.max).default(forkCount.default),
  name: vmNameSchema.nullish().meta({ description: "What all copies are called; the VM's own name is not passed on." }),
  metadata: metadataSchema.nullish().meta({ description: "Added to what the VM's session has." }),
  env: envSchema.nullish().meta({ description: "Added to what the VM's session has." }),
  vm_lifetime_seconds: z.int().min(vmLifetimeS.min).optional().meta({
    maximum: vmLifetimeS.max,
    description: "Of each copy, counted from the fork. Without it as long as the VM's own lifetime is.",
  }),
});
export type ForkVmRequest = z.infer<typeof forkVmRequestSchema>;

/** Answer of POST /v1/vms/{vm_id}/fork. */
export const forkVmResponseSchema = z.object({ vms: z.array(vmSchema) });

/** Body of POST /v1/vms/{vm_id}/clone. */
export const cloneVmRequestSchema = z.strictObject({
  name: vmNameSchema.nullish().meta({ description: "What the copy is called." }),
  snapshot_name: laterFields.snapshot_name,
});
export type CloneVmRequest = z.infer<typeof cloneVmRequestSchema>;

/** Query of GET /v1/vms/, the list of all records. */
export const listVmRecordsQuerySchema = z.object({
  limit: z.coerce.number().int().min(1).max(vmRecordsLimit.max).default(vmRecordsLimit.default),
});

/** Answer of DELETE /v1/vms/{vm_id}. */
export const deleteVmResponseSchema = z.object({
  message: z.string(),
  id: vmIdSchema,
  vm_id: vmIdSchema,
  session_id: sessionIdSchema,
  status: vmStatusSchema,
});
export type DeleteVmResponse = z.infer<typeof deleteVmResponseSchema>;
