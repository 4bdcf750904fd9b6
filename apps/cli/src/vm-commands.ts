import { setTimeout as sleep } from "node:timers/promises";
import { InstaVmError, isInstaVmError } from "instavm";
import type { InstaVm } from "instavm";
import { connect } from "./connection.ts";
import type { CommandOptions } from "./connection.ts";
import { facts, plain, table } from "./table.ts";
import { print, printJson, say, sayError } from "./terminal.ts";

/** A VM as the server shows it. */
type Vm = Awaited<ReturnType<typeof InstaVm.prototype.call<"getVm">>>;

export interface CreateOptions extends CommandOptions {
  readonly type?: "standard" | "computer-use" | "nix-dev";
  /** Seconds until it ends by itself. */
  readonly timeout?: number;
  /** MiB. */
  readonly memory?: number;
  readonly vcpu?: 1 | 2 | 4 | 6 | 8;
  /** A session that gets the VM. */
  readonly session?: string;
  readonly name?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly metadata?: Readonly<Record<string, unknown>>;
}

const createTimeoutMs = 120_000;

/** Starts a VM and shows it. */
export async function createVm(options: CreateOptions, signal: AbortSignal): Promise<void> {
  const { client } = connect(options);
  const body = {
    image_variant: options.type,
    vm_lifetime_seconds: options.timeout,
    memory_mb: options.memory,
    vcpu_count: options.vcpu,
    session_id: options.session,
    name: options.name,
    env: options.env,
    metadata: options.metadata,
  };
  const vm = await client.call("createVm", { body }, { signal, timeoutMs: createTimeoutMs });
  if (options.json === true) await printJson(vm);
  else await print(process.stdout, vmFacts(vm));
}

export interface ListOptions extends CommandOptions {
  /** Those that have ended, too. */
  readonly all?: boolean;
  /** Again whenever something changes, until it is interrupted. */
  readonly watch?: boolean;
}

const watchIntervalMs = 1000;

/** Lists the VMs of the key, newest first. */
export async function listVms(options: ListOptions, signal: AbortSignal): Promise<void> {
  const { client } = connect(options);
  const list = async (): Promise<readonly Vm[]> =>
    options.all === true
      ? await client.call("listVmRecords", {}, { signal })
      : await client.call("listVms", {}, { signal });
  if (options.watch !== true) {
    await showVms(await list(), options);
    return;
  }
  let shown = "";
  for (;;) {
    const vms = await list();
    const now = JSON.stringify(vms);
    if (now !== shown && !(await showChange(vms, options))) return;
    shown = now;
    await sleep(watchIntervalMs, undefined, { signal });
  }
}

async function showVms(vms: readonly Vm[], options: ListOptions): Promise<void> {
  if (options.json === true) await printJson({ vms });
  else if (vms.length === 0) say("there is no VM; `instavm create` makes one");
  else await print(process.stdout, vmTable(vms));
}

/** A terminal shows the newest state alone; a pipe gets one after the other, JSON on one line each. Resolves with false when nobody reads. */
async function showChange(vms: readonly Vm[], options: ListOptions): Promise<boolean> {
  if (options.json === true) return await print(process.stdout, `${JSON.stringify({ vms })}\n`);
  const clear = process.stdout.isTTY ? "\u{1b}[H\u{1b}[2J" : "";
  return await print(process.stdout, `${clear}${vmTable(vms)}`);
}

/** Ends VMs, all that can be. Resolves with the exit code: 1 when one could not. */
export async function removeVms(
  vmIds: readonly string[],
  options: CommandOptions,
  signal: AbortSignal,
): Promise<number> {
  const { client } = connect(options);
  const results = [];
  for (const vmId of vmIds) results.push(await removeVm(client, vmId, signal));
  if (options.json === true) await printJson({ results });
  for (const result of options.json === true ? [] : results) {
    if ("next" in result) sayError(result.detail, result.next);
    else await print(process.stdout, `${result.vm_id}\n`);
  }
  return results.some((result) => "next" in result) ? 1 : 0;
}

async function removeVm(client: InstaVm, vmId: string, signal: AbortSignal) {
  try {
    return await client.call("deleteVm", { params: { vm_id: vmId } }, { signal });
  } catch (error) {
    // Only what is wrong with this one: the others may still be ended.
    if (!isInstaVmError(error, "vm_not_found", "conflict")) throw error;
    return { vm_id: vmId, code: error.code, detail: `${vmId}: ${error.message}`, next: error.next };
  }
}

export interface UpdateOptions extends CommandOptions {
  readonly name?: string;
  readonly memoryMb?: number;
  /** Seconds from its creation. */
  readonly timeout?: number;
  readonly metadata?: Readonly<Record<string, unknown>>;
}

/** Changes what is given of a VM, and shows it. */
export async function updateVm(vmId: string, options: UpdateOptions, signal: AbortSignal): Promise<void> {
  const body = {
    name: options.name,
    memory_mb: options.memoryMb,
    vm_lifetime_seconds: options.timeout,
    metadata: options.metadata,
  };
  if (Object.values(body).every((value) => value === undefined)) {
    throw new InstaVmError("bad_request", `Nothing is given to change of ${vmId}.`, {
      next: "Pass --name, --timeout or --metadata.",
    });
  }
  const vm = await connect(options).client.call("updateVm", { params: { vm_id: vmId }, body }, { signal });
  if (options.json === true) await printJson(vm);
  else await print(process.stdout, vmFacts(vm));
}

export interface ForkOptions extends CommandOptions {
  /** 1 to 100. */
  readonly count?: number;
  readonly name?: string;
  /** Seconds from the fork. */
  readonly timeout?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly metadata?: Readonly<Record<string, unknown>>;
}

/** Copies a VM that runs, and shows the copies. */
export async function forkVm(vmId: string, options: ForkOptions, signal: AbortSignal): Promise<void> {
  const body = {
    count: options.count,
    name: options.name,
    vm_lifetime_seconds: options.timeout,
    env: options.env,
    metadata: options.metadata,
  };
  const input = { params: { vm_id: vmId }, body };
  const answer = await connect(options).client.call("forkVm", input, { signal, timeoutMs: createTimeoutMs });
  if (options.json === true) await printJson(answer);
  else await print(process.stdout, forkTable(answer.vms));
}

export interface CloneOptions extends CommandOptions {
  readonly name?: string;
}

/** Copies a VM that runs once, and shows the copy. */
export async function cloneVm(vmId: string, options: CloneOptions, signal: AbortSignal): Promise<void> {
  const input = { params: { vm_id: vmId }, body: { name: options.name } };
  const vm = await connect(options).client.call("cloneVm", input, { signal, timeoutMs: createTimeoutMs });
  if (options.json === true) await printJson(vm);
  else await print(process.stdout, vmFacts(vm));
}

function forkTable(vms: readonly Vm[]): string {
  const rows = vms.map((vm) => [vm.vm_id, vm.session_id, plain(vm.name ?? "-"), vm.status, vm.expires_at]);
  return table(["VM", "SESSION", "NAME", "STATUS", "ENDS"], rows);
}

function vmTable(vms: readonly Vm[]): string {
  const rows = vms.map((vm) => [
    vm.vm_id,
    plain(vm.name ?? "-"),
    vm.status,
    String(vm.vcpu_count),
    `${String(vm.memory_mb)} MiB`,
    vm.created_at,
    vm.ended_at ?? vm.expires_at,
  ]);
  return table(["VM", "NAME", "STATUS", "VCPU", "MEMORY", "CREATED", "ENDS"], rows);
}

function vmFacts(vm: Vm): string {
  return facts([
    ["VM", vm.vm_id],
    ["SESSION", vm.session_id],
    ["NAME", plain(vm.name ?? "-")],
    ["STATUS", vm.status],
    ["SIZE", `${String(vm.vcpu_count)} vCPU, ${String(vm.memory_mb)} MiB`],
    ["EXPIRES", vm.expires_at],
  ]);
}
