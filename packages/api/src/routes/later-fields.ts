import { InstaVmError } from "@instavm/contract";
import type { CreateVmRequest } from "@instavm/contract";

type LaterFields = Partial<
  Pick<
    CreateVmRequest,
    | "snapshot_id"
    | "image_variant"
    | "volumes"
    | "egress_policy"
    | "vault_ids"
    | "auto_suspend"
    | "auto_resume"
    | "snapshot_on_terminate"
    | "snapshot_name"
    | "share"
    | "custom_domain"
  >
>;

/** For each field what this release cannot do, and the values that do not ask for it. */
const laterFields: Readonly<
  Record<keyof LaterFields, { readonly lacks: string; readonly harmless: readonly unknown[] }>
> = {
  snapshot_id: { lacks: "start a VM from a snapshot", harmless: [] },
  image_variant: { lacks: "start another image than the standard one", harmless: ["standard"] },
  volumes: { lacks: "mount volumes", harmless: [] },
  egress_policy: { lacks: "let anything out of a VM", harmless: [] },
  vault_ids: { lacks: "lend a vault's secrets to a VM", harmless: [] },
  auto_suspend: { lacks: "suspend VMs", harmless: [false] },
  auto_resume: { lacks: "resume VMs", harmless: [false] },
  snapshot_on_terminate: { lacks: "take snapshots", harmless: [false] },
  snapshot_name: { lacks: "take snapshots", harmless: [] },
  share: { lacks: "share a VM's ports", harmless: [] },
  custom_domain: { lacks: "serve custom domains", harmless: [] },
};

/** Throws `not_implemented` for a request that needs what a later release brings; nothing is ignored silently. */
export function refuseLaterFields(body: LaterFields): void {
  for (const [field, { lacks, harmless }] of Object.entries(laterFields)) {
    const value: unknown = Object.entries(body).find(([name]) => name === field)?.[1];
    if (value === undefined || value === null || harmless.includes(value) || asksForNothing(value)) continue;
    throw new InstaVmError("not_implemented", `This release cannot ${lacks}; the request's ${field} asks for it.`, {
      next: `Leave ${field} out.`,
    });
  }
}

/** An empty list, or an object of nothing but false and empty values: a policy that is closed. */
function asksForNothing(value: unknown): boolean {
  if (value === false || value === null) return true;
  if (Array.isArray(value)) return value.length === 0;
  return typeof value === "object" && Object.values(value).every(asksForNothing);
}
