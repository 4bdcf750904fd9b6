import { envSchema, InstaVmError, metadataSchema, type VmId } from "@instavm/contract";
import type { Host } from "../host/host.ts";
import type { Records, SessionRecord, VmWithSession } from "../ports/records.ts";
import type { Chance, Clock } from "../ports/surroundings.ts";
import type { Waiting } from "../ports/waiting.ts";
import type { Lifetimes } from "../sessions/lifetimes.ts";
import type { SessionSettings } from "../sessions/session-settings.ts";
import type { SessionVms } from "../sessions/session-vms.ts";
import type { Caller } from "../sessions/sessions.ts";
import { newSessionId } from "../vm/ids.ts";
import { joinSignals, startDeadline } from "../waiting/deadline.ts";
import type { WorkGauge } from "../waiting/work-gauge.ts";
import type { ForkVmRequest } from "./vms.ts";

/** What forks are made with. */
export interface VmForksParts {
  readonly vms: SessionVms;
  readonly host: Pick<Host, "find">;
  readonly records: Pick<Records, "sessions" | "vms">;
  readonly lifetimes: Lifetimes;
  readonly gauge: WorkGauge;
  readonly clock: Clock;
  readonly chance: Chance;
  /** Fires when the server stops. */
  readonly closing: AbortSignal;
  readonly settings: SessionSettings;
}

/** Copies VMs that run; each copy has a session of its own, made after that of its source. */
export class VmForks {
  readonly #parts: VmForksParts;

  constructor(parts: VmForksParts) {
    this.#parts = parts;
  }

  /** See `Vms.fork`. */
  async fork(
    caller: Caller,
    vmId: VmId,
    { signal, timeoutMs, ...request }: ForkVmRequest & Waiting,
  ): Promise<readonly VmWithSession[]> {
    const { vms, lifetimes, gauge, clock, closing, settings } = this.#parts;
    using _work = gauge.enter();
    const limitMs = timeoutMs ?? settings.createTimeoutMs;
    using deadline = startDeadline(clock, {
      timeoutMs: limitMs,
      signal: joinSignals(closing, signal),
      expired: () => new InstaVmError("unavailable", `the copies of VM ${vmId} were not ready within ${limitMs} ms`),
    });
    deadline.signal.throwIfAborted();
    const source = await this.#running(caller, vmId);
    const first = this.#sessionAfter(source, request);
    const { chance } = this.#parts;
    const sessions = Array.from({ length: request.count }, () => ({ ...first, sessionId: newSessionId(chance) }));
    const made = await vms.openForks({ source: vmId, sessions, env: request.env }, deadline.signal);
    for (const { sessionId, expiresAtMs } of sessions) lifetimes.schedule(sessionId, expiresAtMs);
    return made.map((vm) => ({ vm, session: { ...first, sessionId: vm.sessionId } }));
  }

  /** The session of a caller's VM that runs. */
  async #running(caller: Caller, vmId: VmId): Promise<SessionRecord> {
    const { records, host } = this.#parts;
    const own = await records.vms.findOwn(vmId, caller.keyId);
    const session = own && (await records.sessions.find(own.session.sessionId, caller.keyId));
    if (own === undefined || session === undefined) {
      throw new InstaVmError("vm_not_found", `VM ${vmId} does not exist`);
    }
    if (host.find(vmId) !== undefined) return session;
    throw new InstaVmError("vm_not_found", `VM ${vmId} has ended: ${own.vm.endReason ?? "it does not run any more"}`);
  }

  #sessionAfter(source: SessionRecord, request: Omit<ForkVmRequest, "count">): SessionRecord {
    const { clock } = this.#parts;
    const createdAtMs = clock.nowMs();
    const lifetimeS = request.lifetimeS ?? source.lifetimeS;
    return {
      ...source,
      name: request.name,
      env: within(envSchema, "env", { ...source.env, ...request.env }),
      metadata: within(metadataSchema, "metadata", { ...source.metadata, ...request.metadata }),
      lifetimeS,
      createdAtMs,
      expiresAtMs: createdAtMs + lifetimeS * 1000,
      vmId: undefined,
      endedAtMs: undefined,
      endReason: undefined,
    };
  }
}

/** What a session has and what is added can be too much together. */
function within<T>(schema: typeof envSchema | typeof metadataSchema, field: string, together: T): T {
  const checked = schema.safeParse(together);
  if (checked.success) return together;
  const msg = checked.error.issues[0]?.message ?? "is too much";
  throw new InstaVmError("invalid", `body.${field}, together with what the VM's session has: ${msg}`, {
    errors: [{ loc: ["body", field], msg, type: "too_big" }],
  });
}
