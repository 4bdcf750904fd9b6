import { defaultShape, InstaVmError, type SessionId, type VmId } from "@instavm/contract";
import { CommandService } from "./commands/command-service.ts";
import type { Commands } from "./commands/commands.ts";
import { ContextService } from "./contexts/context-service.ts";
import type { Contexts } from "./contexts/contexts.ts";
import { ExecutionService } from "./executions/execution-service.ts";
import type { Executions } from "./executions/executions.ts";
import { FileService } from "./files/file-service.ts";
import type { Files } from "./files/files.ts";
import { type ForkRequest, Host, type Started } from "./host/host.ts";
import { type CloneParts, startClone } from "./host/start-clone.ts";
import { fromPool, fromTemplate, fromZygote } from "./host/start-strategies.ts";
import { Pool, type PoolSettings } from "./pool/pool.ts";
import type { AgentLink } from "./ports/agent-link.ts";
import type { Engine } from "./ports/engine.ts";
import type { ImageStore, TemplateStore, VmDirectories } from "./ports/files.ts";
import type { Records } from "./ports/records.ts";
import type { Chance, Clock, Log } from "./ports/surroundings.ts";
import { Cells } from "./sessions/cells.ts";
import { Lifetimes } from "./sessions/lifetimes.ts";
import { OwnVms } from "./sessions/own-vms.ts";
import { recover } from "./sessions/recover.ts";
import { SessionService } from "./sessions/session-service.ts";
import type { SessionSettings } from "./sessions/session-settings.ts";
import { SessionVms } from "./sessions/session-vms.ts";
import type { HostStatus, Sessions } from "./sessions/sessions.ts";
import { UsageMeter } from "./sessions/usage-meter.ts";
import { VmLedger } from "./sessions/vm-ledger.ts";
import type { TemplateSettings } from "./templates/template-builder.ts";
import { Templates } from "./templates/templates.ts";
import { newIdentity } from "./vm/identity.ts";
import { warmUp } from "./templates/warm-up.ts";
import { poolWarmUp, templateWarmUp, type WarmUpStep, zygoteWarmUp } from "./templates/warm-up-steps.ts";
import { Leftovers } from "./vm/leftovers.ts";
import type { Sandbox } from "./vm/sandbox.ts";
import { KeyedQueue } from "./waiting/keyed-queue.ts";
import { VmForks } from "./vms/vm-forks.ts";
import { VmService } from "./vms/vm-service.ts";
import type { Vms } from "./vms/vms.ts";
import { Turnstile } from "./waiting/turnstile.ts";
import { WorkGauge } from "./waiting/work-gauge.ts";
import { Zygotes, type ZygoteSettings } from "./zygotes/zygotes.ts";

/** How the platform behaves; times in ms. */
export interface PlatformSettings {
  readonly pool: PoolSettings & { readonly warmUp: readonly WarmUpStep[] };
  readonly templates: TemplateSettings;
  readonly sessions: SessionSettings;
  readonly zygotes: ZygoteSettings;
  /** File clones that start at the same time; twice the host's cores is a good number. */
  readonly startsAtOnce: number;
  /** The same for forks, of zygotes and of sessions' VMs each; one is a matter of milliseconds. */
  readonly forksAtOnce: number;
  /** How long a clone's agent may take to answer. */
  readonly cloneTimeoutMs: number;
  /** How long an agent whose link broke may take to answer again. */
  readonly reconnectTimeoutMs: number;
}

/** Settings that fit a host with two cores and no hardware virtualization. */
export const defaultSettings: PlatformSettings = {
  pool: {
    size: 2,
    shape: defaultShape,
    maxAgeMs: 3_600_000,
    quietMs: 30,
    starvedWaitMs: 1_000,
    patience: 10,
    warmUp: poolWarmUp,
  },
  templates: {
    boot: { bootTimeoutMs: 60_000, bootCpuMs: 45_000, bootLimitMs: 150_000 },
    bootAttempts: 3,
    warmUp: templateWarmUp,
  },
  sessions: { createTimeoutMs: 300_000, graceMs: 5_000, pingTimeoutMs: 10_000 },
  zygotes: { memoryMib: 2048, warmUp: zygoteWarmUp, retryMs: 30_000 },
  startsAtOnce: 4,
  forksAtOnce: 8,
  cloneTimeoutMs: 30_000,
  reconnectTimeoutMs: 10_000,
};

/** The platform's surroundings, one adapter for each port. */
export interface PlatformPorts {
  readonly engine: Engine;
  readonly link: AgentLink;
  readonly images: ImageStore;
  readonly templates: TemplateStore;
  readonly directories: VmDirectories;
  readonly records: Pick<Records, "sessions" | "vms" | "executions">;
  readonly clock: Clock;
  readonly chance: Chance;
  readonly log: Log;
}

/** The domain, wired. */
export interface Platform {
  readonly sessions: Sessions;
  readonly vms: Vms;
  /** Code that is streamed, or runs in the background. */
  readonly executions: Executions;
  readonly files: Files;
  readonly contexts: Contexts;
  /** Programs in the background. */
  readonly commands: Commands;
  readonly host: {
    /** Throws `host_setup` when the engine cannot work here. */
    status(): Promise<HostStatus>;
    /** Copies a VM that runs; see `Host.fork`. The copies belong to no session yet. */
    fork(vmId: VmId, request: ForkRequest, signal?: AbortSignal): Promise<readonly Started[]>;
  };
  /** Takes over what an earlier server left, then begins to fill the pool. Call it once, before the first client's call. */
  start(): Promise<void>;
  /** Cancels calls under way, ends pooled and half-made VMs, leaves those of sessions running. Idempotent. */
  close(): Promise<void>;
}

/** Wires the domain to its surroundings. Nothing runs until `start`. */
export function createPlatform(ports: PlatformPorts, settings: PlatformSettings = defaultSettings): Platform {
  const { records, clock, log } = ports;
  const gauge = new WorkGauge(clock);
  const host = createHost(ports, settings, gauge);
  const ledger = new VmLedger({ vms: records.vms, clock, log });
  const closing = new AbortController();
  const meter = new UsageMeter({ host, records: records.sessions, clock, log });
  const vms = new SessionVms({ host, records, ledger, clock, meter, queue: new KeyedQueue<SessionId>() });
  const lifetimes: Lifetimes = new Lifetimes(clock, (sessionId) => void sessions.expire(sessionId));
  const domain = { ...ports, host, vms, lifetimes, meter, gauge, closing: closing.signal, settings: settings.sessions };
  const cells = new Cells(domain);
  const sessions = new SessionService({ ...domain, cells });
  const executions = new ExecutionService({ ...domain, cells });
  const onVms = { ...domain, ownVms: new OwnVms({ ...domain, cells }) };
  let closed: Promise<void> | undefined;
  const close = async (): Promise<void> => {
    lifetimes.stop();
    closing.abort(new InstaVmError("unavailable", "the server stops"));
    await gauge.idle();
    await meter.close();
    await host.close();
  };
  return {
    sessions,
    vms: new VmService({ ...domain, sessions, cells, forks: new VmForks(domain) }),
    executions,
    files: new FileService(onVms),
    contexts: new ContextService(onVms),
    commands: new CommandService(onVms),
    host: { status: () => host.status(), fork: (vmId, request, signal) => host.fork(vmId, request, signal) },
    start: async () => {
      await recover({ host, records, ledger, lifetimes, log });
      await executions.recover();
      // After the VMs that may still write to them are gone.
      await ports.templates.sweep();
      host.startPool();
    },
    close: () => (closed ??= close()),
  };
}

function createHost(ports: PlatformPorts, settings: PlatformSettings, gauge: WorkGauge): Host {
  const leftovers = new Leftovers(ports);
  const templates = new Templates(ports.images, { ...ports, leftovers, settings: settings.templates });
  const clone: CloneParts = { ...ports, ...settings, leftovers, queue: new KeyedQueue<VmId>() };
  const zygotes = new Zygotes({ ...ports, clone, settings: settings.zygotes });
  const make = async (signal: AbortSignal): Promise<Sandbox> => {
    const { shape, warmUp: steps } = settings.pool;
    const template = await templates.get(shape, signal);
    const how = { shape, env: {}, priority: "background" } as const;
    const origin = await zygotes.findOrAwait(template, signal);
    const sandbox =
      (origin === undefined ? undefined : await zygotes.tryFork({ origin, ...how }, signal)) ??
      (await startClone({ origin: { kind: "template", template }, ...how }, clone, signal));
    try {
      await warmUp(await sandbox.agent(signal), steps, {
        ...ports,
        signal,
        newIdentity: () => newIdentity(sandbox.vmId, {}, ports),
      });
      // Here and not at the hand-over: waiting costs it nothing, and the hand-over must cost nothing.
      await sandbox.prioritise({ signal });
      return sandbox;
    } catch (error) {
      await sandbox.destroy({ cause: "discarded", reason: "it could not be made ready for the pool" });
      throw error;
    }
  };
  const pool = new Pool({ ...ports, make, gauge, settings: settings.pool });
  const strategies = [
    fromPool(pool, clone),
    fromZygote({ templates, zygotes, turnstile: new Turnstile(settings.forksAtOnce) }),
    fromTemplate({ templates, clone, turnstile: new Turnstile(settings.startsAtOnce) }),
  ];
  return new Host({ templates, pool, zygotes, clone, strategies, forks: new Turnstile(settings.forksAtOnce) });
}
