import { InstaVmError, type SessionId, type VmId } from "@instavm/contract";
import type { Host } from "../host/host.ts";
import type { ListOptions, Records, SessionChange, SessionRecord, VmWithSession } from "../ports/records.ts";
import type { Clock } from "../ports/surroundings.ts";
import type { Waiting } from "../ports/waiting.ts";
import type { Cells } from "../sessions/cells.ts";
import type { Lifetimes } from "../sessions/lifetimes.ts";
import type { SessionService } from "../sessions/session-service.ts";
import type { SessionVms } from "../sessions/session-vms.ts";
import type { Caller, CreateRequest } from "../sessions/sessions.ts";
import type { WorkGauge } from "../waiting/work-gauge.ts";
import type { VmForks } from "./vm-forks.ts";
import type { AttachRequest, ForkVmRequest, VmChange, Vms, VmView } from "./vms.ts";

/** What the service works with. */
export interface VmServiceParts {
  readonly sessions: SessionService;
  readonly cells: Cells;
  readonly vms: SessionVms;
  readonly forks: VmForks;
  readonly host: Pick<Host, "find">;
  readonly records: Pick<Records, "sessions" | "vms">;
  readonly lifetimes: Lifetimes;
  readonly gauge: WorkGauge;
  readonly clock: Clock;
}

/** VMs by their own ids: each belongs to a session, which carries its name, metadata and lifetime. */
export class VmService implements Vms {
  readonly #parts: VmServiceParts;

  constructor(parts: VmServiceParts) {
    this.#parts = parts;
  }

  async create(caller: Caller, request: CreateRequest, waiting: Waiting = {}): Promise<VmView> {
    const { session, vm } = await this.#parts.sessions.create(caller, request, waiting);
    if (vm === undefined) throw new InstaVmError("internal", `session ${session.sessionId} was made without a VM`);
    return this.#view({ session, vm });
  }

  async attach(caller: Caller, sessionId: SessionId, request: AttachRequest & Waiting): Promise<VmView> {
    const { cells, gauge } = this.#parts;
    using _work = gauge.enter();
    const session = await cells.usable(caller, sessionId);
    requireSame(session, request);
    const { sandbox } = await cells.live(session, request);
    await this.#change(session, request);
    return await this.get(caller, sandbox.vmId);
  }

  async get(caller: Caller, vmId: VmId): Promise<VmView> {
    return this.#view(await this.#own(caller, vmId));
  }

  async list(caller: Caller, options: ListOptions): Promise<readonly VmView[]> {
    const found = await this.#parts.records.vms.listByKey(caller.keyId, options);
    return found.map((one) => this.#view(one));
  }

  async update(caller: Caller, vmId: VmId, change: VmChange): Promise<VmView> {
    const { vm } = await this.#own(caller, vmId);
    const session = await this.#parts.records.sessions.find(vm.sessionId);
    if (vm.endedAtMs !== undefined || session === undefined) {
      throw new InstaVmError("conflict", `VM ${vmId} has ended (it is ${vm.status}) and cannot be changed.`);
    }
    await this.#change(session, change);
    return this.get(caller, vmId);
  }

  async fork(caller: Caller, vmId: VmId, request: ForkVmRequest & Waiting): Promise<readonly VmView[]> {
    const made = await this.#parts.forks.fork(caller, vmId, request);
    return made.map((one) => this.#view(one));
  }

  async end(caller: Caller, vmId: VmId): Promise<VmView> {
    const { vms, records, lifetimes } = this.#parts;
    const { vm } = await this.#own(caller, vmId);
    const session = vm.endedAtMs === undefined ? await records.sessions.find(vm.sessionId) : undefined;
    if (session?.vmId === vmId) {
      try {
        await vms.end(session, "killed");
        lifetimes.cancel(session.sessionId);
      } catch (error) {
        // Somebody else has ended it meanwhile.
        if (!(error instanceof InstaVmError) || error.code !== "session_not_found") throw error;
      }
    }
    return this.get(caller, vmId);
  }

  async #own(caller: Caller, vmId: VmId): Promise<VmWithSession> {
    const own = await this.#parts.records.vms.findOwn(vmId, caller.keyId);
    if (own === undefined) throw new InstaVmError("vm_not_found", `VM ${vmId} does not exist`);
    return own;
  }

  async #change(session: SessionRecord, { name, metadata, lifetimeS }: VmChange): Promise<void> {
    const { records, lifetimes, clock } = this.#parts;
    if (name === undefined && metadata === undefined && lifetimeS === undefined) return;
    const change: SessionChange = { name, metadata, lifetime: lifetimeOf(session, lifetimeS, clock.nowMs()) };
    await records.sessions.change(session.sessionId, change);
    if (change.lifetime !== undefined) lifetimes.schedule(session.sessionId, change.lifetime.expiresAtMs);
  }

  #view({ vm, session }: VmWithSession): VmView {
    return { vm, session, isAlive: this.#parts.host.find(vm.vmId) !== undefined };
  }
}

function lifetimeOf(session: SessionRecord, lifetimeS: number | undefined, nowMs: number): SessionChange["lifetime"] {
  if (lifetimeS === undefined) return undefined;
  const expiresAtMs = session.createdAtMs + lifetimeS * 1000;
  if (expiresAtMs > nowMs) return { lifetimeS, expiresAtMs };
  const aliveS = Math.ceil((nowMs - session.createdAtMs) / 1000);
  throw new InstaVmError(
    "conflict",
    `A lifetime of ${lifetimeS} s would be over already: the session lives since ${aliveS} s.`,
    { next: "Ask for a longer lifetime, or end the VM." },
  );
}

/** A session's VMs all have the shape and environment that it was created with. */
function requireSame({ sessionId, shape }: SessionRecord, wanted: AttachRequest): void {
  const { vcpuCount = shape.vcpuCount, memoryMib = shape.memoryMib } = wanted.shape;
  const text = ({ vcpuCount: vcpus, memoryMib: mib }: SessionRecord["shape"]): string =>
    `${vcpus} vCPUs and ${mib} MiB`;
  if (vcpuCount !== shape.vcpuCount || memoryMib !== shape.memoryMib) {
    throw new InstaVmError(
      "conflict",
      `Session ${sessionId} has VMs of ${text(shape)}; ${text({ vcpuCount, memoryMib })} were asked for.`,
      { next: "Leave the shape out, or create a VM without session_id." },
    );
  }
  if (Object.keys(wanted.env ?? {}).length > 0) {
    throw new InstaVmError("conflict", `Session ${sessionId} has the environment that it was created with.`, {
      next: "Leave env out, or create a VM without session_id.",
    });
  }
}
