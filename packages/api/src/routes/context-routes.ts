import { operations } from "@instavm/contract";
import type { ContextId, VmId } from "@instavm/contract";
import type { ContextPlace, Contexts } from "@instavm/core";
import { contextAnswer } from "../answers/context-answers.ts";
import { keyRoute } from "../http/route.ts";
import type { Route } from "../http/route.ts";

/** /v1/vms/{vm_id}/contexts. */
export function contextRoutes(contexts: Contexts): readonly Route[] {
  return [
    keyRoute(operations.createContext, async ({ caller, params: { vm_id: vmId }, body, signal }) => {
      const { language, cwd, env } = body;
      const options = { ...(typeof cwd === "string" ? { cwd } : {}), env: env ?? {} };
      const made = await contexts.create(caller, { vm: { vmId }, language, ...options }, { signal });
      return contextAnswer(vmId, made);
    }),
    keyRoute(operations.listContexts, async ({ caller, params: { vm_id: vmId }, signal }) => {
      const listed = await contexts.list(caller, { vmId }, { signal });
      return listed.map((context) => contextAnswer(vmId, context));
    }),
    keyRoute(operations.getContext, async ({ caller, params, signal }) =>
      contextAnswer(params.vm_id, await contexts.get(caller, placeOf(params), { signal })),
    ),
    keyRoute(operations.restartContext, async ({ caller, params, signal }) =>
      contextAnswer(params.vm_id, await contexts.restart(caller, placeOf(params), { signal })),
    ),
    keyRoute(operations.interruptContext, async ({ caller, params, signal }) =>
      contextAnswer(params.vm_id, await contexts.interrupt(caller, placeOf(params), { signal })),
    ),
    keyRoute(operations.deleteContext, async ({ caller, params, signal }) => {
      const { vm_id, context_id } = params;
      await contexts.delete(caller, placeOf(params), { signal });
      return { message: `Context ${context_id} has ended.`, id: context_id, context_id, vm_id };
    }),
  ];
}

function placeOf(params: { readonly vm_id: VmId; readonly context_id: ContextId }): ContextPlace {
  return { vm: { vmId: params.vm_id }, contextId: params.context_id };
}
