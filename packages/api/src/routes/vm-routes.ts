import {
  defaultShape,
  InstaVmError,
  operations,
  sessionLifetimeS,
  vmLifetimeS,
  vmRecordsLimit,
} from "@instavm/contract";
import type { CreateVmRequest, UpdateVmRequest } from "@instavm/contract";
import type { Caller, Vms, VmView, Waiting } from "@instavm/core";
import { deletedAnswer, vmAnswer } from "../answers/vm-answers.ts";
import { keyRoute } from "../http/route.ts";
import type { Route } from "../http/route.ts";
import { refuseLaterFields } from "./later-fields.ts";
import { refuseLongLifetime } from "./lifetime-limit.ts";

/** /v1/vms. */
export function vmRoutes(vms: Vms): readonly Route[] {
  return [
    keyRoute(operations.createVm, async ({ caller, body, signal }) => {
      refuseLaterFields(body);
      refuseLongLifetime(body.vm_lifetime_seconds ?? 0, vmLifetimeS.max);
      return vmAnswer(await createOrAttach(vms, { caller, body, signal }));
    }),
    keyRoute(operations.listVms, async ({ caller }) => {
      const views = await vms.list(caller, { liveOnly: true, limit: vmRecordsLimit.max });
      return views.filter(({ vm, isAlive }) => isAlive || vm.status === "suspended").map(vmAnswer);
    }),
    keyRoute(operations.listVmRecords, async ({ caller, query }) =>
      (await vms.list(caller, { limit: query.limit })).map(vmAnswer),
    ),
    keyRoute(operations.getVm, async ({ caller, params }) => vmAnswer(await vms.get(caller, params.vm_id))),
    keyRoute(operations.updateVm, async ({ caller, params, body }) => {
      const view = await vms.get(caller, params.vm_id);
      refuseLaterFields(body);
      refuseLongLifetime(body.vm_lifetime_seconds ?? 0, vmLifetimeS.max);
      refuseFixedFields(view, body);
      const { name, metadata, vm_lifetime_seconds: lifetimeS } = body;
      return vmAnswer(await vms.update(caller, params.vm_id, { name, metadata, lifetimeS }));
    }),
    keyRoute(operations.forkVm, async ({ caller, params, body, signal }) => {
      refuseLongLifetime(body.vm_lifetime_seconds ?? 0, vmLifetimeS.max);
      const request = {
        count: body.count,
        name: body.name ?? undefined,
        metadata: body.metadata ?? {},
        env: body.env ?? {},
        lifetimeS: body.vm_lifetime_seconds,
      };
      return { vms: (await vms.fork(caller, params.vm_id, { ...request, signal })).map(vmAnswer) };
    }),
    keyRoute(operations.cloneVm, async ({ caller, params, body, signal }) => {
      await vms.get(caller, params.vm_id);
      refuseLaterFields(body);
      const request = { count: 1, name: body.name ?? undefined, metadata: {}, env: {} };
      const [copy] = await vms.fork(caller, params.vm_id, { ...request, signal });
      if (copy !== undefined) return vmAnswer(copy);
      throw new InstaVmError("internal", `VM ${params.vm_id} was cloned without a copy`);
    }),
    keyRoute(operations.deleteVm, async ({ caller, params }) => deletedAnswer(await vms.end(caller, params.vm_id))),
  ];
}

interface CreateCall extends Waiting {
  readonly caller: Caller;
  readonly body: CreateVmRequest;
  readonly signal: AbortSignal;
}

async function createOrAttach(vms: Vms, { caller, body, signal }: CreateCall): Promise<VmView> {
  const { memory_mb: memoryMib, vcpu_count: vcpuCount, vm_lifetime_seconds: lifetimeS } = body;
  const name = body.name ?? undefined;
  const metadata = body.metadata ?? undefined;
  if (body.session_id === null || body.session_id === undefined) {
    const request = {
      name,
      shape: {
        memoryMib: memoryMib ?? defaultShape.memoryMib,
        vcpuCount: vcpuCount ?? defaultShape.vcpuCount,
      },
      lifetimeS: lifetimeS ?? sessionLifetimeS.default,
      env: body.env ?? {},
      metadata: metadata ?? {},
    };
    return vms.create(caller, request, { signal });
  }
  const shape = {
    ...(memoryMib === undefined ? {} : { memoryMib }),
    ...(vcpuCount === undefined ? {} : { vcpuCount }),
  };
  const request = { name, metadata, lifetimeS, shape, env: body.env ?? undefined, signal };
  return vms.attach(caller, body.session_id, request);
}

/** What a running VM keeps is refused unless it is what it has already. */
function refuseFixedFields({ vm }: VmView, body: UpdateVmRequest): void {
  const wanted = [
    { field: "memory_mb", value: body.memory_mb, has: vm.shape.memoryMib },
    { field: "vcpu_count", value: body.vcpu_count, has: vm.shape.vcpuCount },
    { field: "session_id", value: body.session_id, has: vm.sessionId },
    { field: "env", value: body.env, has: undefined },
  ];
  for (const { field, value, has } of wanted) {
    if (value === undefined || value === has) continue;
    const kept = has === undefined ? "what it was created with" : String(has);
    throw new InstaVmError("conflict", `VM ${vm.vmId}: its ${field} stays ${kept} for as long as it runs.`, {
      next: "Create another VM.",
    });
  }
}
