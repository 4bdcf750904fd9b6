import { availableParallelism } from "node:os";
import { createApi } from "@instavm/api";
import { InstaVmError, version } from "@instavm/contract";
import { createIdempotentCalls, createKeys, createPlatform, defaultSettings } from "@instavm/core";
import type { EngineFacts, Log, PlatformSettings } from "@instavm/core";
import { generateKey, hashKey, openStore } from "@instavm/store";
import { accountCheck, tryListen } from "./checks/own-checks.ts";
import type { Settings } from "./settings/settings.ts";
import { ensureAdminKey } from "./state/admin-key.ts";
import { openStateDirectory } from "./state/state-directory.ts";
import { openAdapters } from "./wiring/adapters.ts";
import { systemChance, systemClock } from "./wiring/surroundings.ts";

/** What a server is started with. */
export interface ServeOptions {
  readonly settings: Settings;
  readonly log: Log;
  /** Aborts to stop the server. */
  readonly stop: AbortSignal;
  /** Gets the one line that says where it listens. */
  readonly announce: (line: string) => void;
}

/** Running calls have this long to end by themselves when the server stops, in ms. */
const stopGraceMs = 3000;
/** The guest's part of the margin between the code's time limit and the answer, in ms. */
const cellGraceMs = 150;

/** Runs a server until `stop` aborts. The sandboxes of sessions live on. Throws why it cannot serve. */
export async function serve({ settings, log, stop, announce }: ServeOptions): Promise<void> {
  await using parts = new AsyncDisposableStack();
  requireRoot();
  await requireFreePort(settings.listen);
  const state = parts.use(await openStateDirectory(settings.stateDir));
  const store = parts.use(await openStore({ path: state.recordsPath, signal: stop }));
  await ensureAdminKey({ path: state.adminKeyPath, keys: store.keys, generate: generateKey, hash: hashKey });
  const adapters = await openAdapters(settings, log, stop);
  parts.use(adapters);
  const surroundings = { clock: systemClock, chance: systemChance, log };
  const platform = createPlatform({ ...adapters, ...surroundings, records: store }, platformSettings(settings));
  parts.defer(async () => platform.close());
  const { facts } = await platform.host.status();
  stop.throwIfAborted();
  await platform.start();
  stop.throwIfAborted();
  const keys = createKeys({
    records: store.keys,
    secrets: { generate: generateKey, hash: hashKey },
    clock: systemClock,
    log,
  });
  parts.defer(async () => keys.close());
  const api = createApi({
    sessions: platform.sessions,
    executions: platform.executions,
    files: platform.files,
    contexts: platform.contexts,
    commands: platform.commands,
    vms: platform.vms,
    keys,
    idempotentCalls: createIdempotentCalls({ records: store.answers, clock: systemClock, log }),
    host: { version, status: async () => platform.host.status() },
    clock: systemClock,
    log,
  });
  parts.defer(async () => api.close(stopGraceMs));
  const url = await api.listen(settings.listen);
  announce(`listening on ${url}, key in ${state.adminKeyPath}, engine ${engineText(facts)}`);
  await aborted(stop);
  log.info("server.stopping");
}

function platformSettings({ poolSize, zygoteMemoryMib }: Settings): PlatformSettings {
  return {
    ...defaultSettings,
    pool: { ...defaultSettings.pool, size: poolSize },
    zygotes: { ...defaultSettings.zygotes, memoryMib: zygoteMemoryMib },
    sessions: { ...defaultSettings.sessions, graceMs: cellGraceMs },
    startsAtOnce: 2 * availableParallelism(),
  };
}

function requireRoot(): void {
  const { outcome, seen, remedy } = accountCheck(process.getuid?.());
  if (outcome === "ok") return;
  throw new InstaVmError("host_setup", `The server runs as ${seen}; it starts VMs as root.`, { next: remedy });
}

/** Before anything else is touched; the listening itself comes last. */
async function requireFreePort({ host, port }: Settings["listen"]): Promise<void> {
  if (port === 0 || (await tryListen(host, port)) !== "EADDRINUSE") return;
  throw new InstaVmError("conflict", `The server cannot listen on ${host}:${port}: the port is taken.`, {
    next: "Stop what listens there, or choose another address with --listen.",
  });
}

function engineText(facts: EngineFacts): string {
  return `${facts.name} ${facts.version} with ${facts.accelerator}: ${facts.acceleratorReason}`;
}

async function aborted(signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  if (signal.aborted) return;
  signal.addEventListener("abort", () => resolve(), { once: true });
  await promise;
}
