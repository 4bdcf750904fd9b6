import { z } from "zod";
import { sessionIdSchema } from "./ids.ts";

/** Answer of GET /v1/sessions/usage/{session_id}: what a session has used so far, over all VMs that it had. */
export const sessionUsageSchema = z.object({
  session_id: sessionIdSchema,
  cpu_seconds: z
    .number()
    .meta({ description: "CPU time of the VMs' processes on the host, emulation included.", examples: [1.25] }),
  wall_seconds: z.number().meta({ description: "How long its VMs ran." }),
  memory_gib_seconds: z.number().meta({ description: "The VMs' memory times how long they ran." }),
  egress_bytes: z.int().meta({ description: "Always 0: in this release nothing leaves a VM." }),
  executions: z.int().meta({ description: "Calls that ran code." }),
});
export type SessionUsage = z.infer<typeof sessionUsageSchema>;
