import { commandLimits } from "./commands.ts";
import { contextLimit } from "./contexts.ts";
import type { Operation } from "./operations.ts";

/** The chapters of the API's documents, in order, and the paths that belong to each. */
export const operationGroups = [
  {
    name: "Sessions",
    description: "A session is what a client holds: it outlives the VM that serves it.",
    paths: ["/v1/sessions", "/kill"],
  },
  {
    name: "Execution",
    description: "Python, JavaScript and Bash in a session's VM. A program that fails is an answer, not an error.",
    paths: ["/execute", "/execute_async", "/v1/executions"],
  },
  {
    name: "Contexts",
    description: `Interpreters of a VM, each with its own state and working directory; at most ${contextLimit}. Code runs in one with \`/execute\`.`,
    paths: ["/v1/vms/{vm_id}/contexts"],
  },
  {
    name: "Commands",
    description: `Programs that run in the background of a VM and belong to no request: at most ${commandLimits.running} at once; the last ${commandLimits.remembered} that ended are remembered. At most ${commandLimits.waitingRequests} requests at once read, write or wait for those of one VM.`,
    paths: ["/v1/vms/{vm_id}/commands"],
  },
  {
    name: "Files",
    description: "Files inside a VM. A relative path starts at the workdir.",
    paths: ["/upload", "/download", "/v1/vms/{vm_id}/files"],
  },
  {
    name: "VMs",
    description: "The VMs themselves, each with the session that it serves.",
    paths: ["/v1/vms"],
  },
  {
    name: "Keys",
    description: "API keys. Each sees only its own sessions and VMs; an admin's manages the keys of others.",
    paths: ["/v1/api-keys", "/v1/users", "/v1/ssh-keys"],
  },
  { name: "Server", description: "The server itself.", paths: ["/health"] },
] as const;
export type OperationGroup = (typeof operationGroups)[number]["name"];

/** The chapter of an operation; the longest path that fits counts. */
export function groupOf({ path }: Pick<Operation, "path">): OperationGroup {
  const isUnder = (prefix: string): boolean => path === prefix || path.startsWith(`${prefix}/`);
  const fitting = operationGroups.flatMap(({ name, paths }) =>
    paths.filter(isUnder).map((prefix) => ({ name, length: prefix.length })),
  );
  return fitting.toSorted((one, other) => other.length - one.length)[0]?.name ?? "Server";
}
