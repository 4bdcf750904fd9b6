import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { defaultShape } from "@instavm/contract";
import type { ActivateRequest, AgentSession, PausedMachine, RunningMachine } from "@instavm/core";
import { newestTemplate, type OwnHost, openOwnHost, printsFortyTwo, someVmId } from "../own-host.ts";
import type { Figure, Suite } from "../result.ts";
import { summarise } from "../statistics.ts";

const rounds = 20;
/** A guest must see that its connection was cut before it takes the next. */
const cutNoticeMs = 20;

function identityOf(vmId: string): ActivateRequest {
  const identity = { entropy: randomBytes(64), hostname: vmId, machineId: randomBytes(16).toString("hex") };
  return { identity, unixTimeMs: Date.now(), env: {} };
}

/** A file clone whose agent has run what the forks will run. */
async function warmClone(
  host: OwnHost,
): Promise<{ readonly machine: RunningMachine; readonly session: AgentSession; readonly directory: string }> {
  const [vmId, source] = [someVmId(), await newestTemplate()];
  const directory = await host.directories.create(vmId);
  const { rootfsPath } = host.image.boot;
  const machine = await host.engine.clone({
    vmId,
    directory,
    shape: defaultShape,
    rootfsPath,
    source,
    priority: "normal",
  });
  const session = await host.link.connect(machine.agentSocketPath, { timeoutMs: 30_000, activate: identityOf(vmId) });
  for (let count = 0; count < 8; count++) {
    await printsFortyTwo(session);
    await session.activate(identityOf(vmId), { timeoutMs: 30_000 });
  }
  await printsFortyTwo(session);
  return { machine, session, directory };
}

const steps = ["fork", "agent answers and is activated", "first Python result", "second Python result"] as const;
type Step = (typeof steps)[number] | "parent's pause" | "fork → first Python result";

/** Forks once, times each step, and ends the copy. */
async function timeFork(
  host: OwnHost,
  parent: Pick<PausedMachine | RunningMachine, "fork" | "phase">,
  durations: Map<Step, number[]>,
): Promise<void> {
  const add = (step: Step, ms: number): void => void durations.set(step, [...(durations.get(step) ?? []), ms]);
  const vmId = someVmId();
  const directory = await host.directories.create(vmId);
  const startedAt = performance.now();
  let previous = startedAt;
  const done = (step: Step): void => {
    const now = performance.now();
    add(step, now - previous);
    previous = now;
  };
  const { machine, pauseMs } = await parent.fork({ vmId, directory, priority: "normal" });
  done("fork");
  add("parent's pause", pauseMs);
  if (parent.phase === "running") await sleep(cutNoticeMs);
  const session = await host.link.connect(machine.agentSocketPath, { timeoutMs: 30_000, activate: identityOf(vmId) });
  done("agent answers and is activated");
  await printsFortyTwo(session);
  done("first Python result");
  add("fork → first Python result", performance.now() - startedAt);
  await printsFortyTwo(session);
  done("second Python result");
  await session.detach();
  await machine.end();
  await host.directories.remove(vmId);
}

function figuresOf(
  title: string,
  durations: ReadonlyMap<Step, number[]>,
  promises: Partial<Record<Step, string>>,
): Figure[] {
  return [...durations].map(([step, values]) => {
    const promise = promises[step];
    return {
      name: `${title}: ${step}`,
      unit: "ms",
      summary: summarise(values),
      ...(promise !== undefined && { promise }),
    };
  });
}

/** What a fork's time is made of: of a zygote, and of a VM that runs with a host connected. No HTTP. */
export const forkSuite: Suite = {
  name: "fork",
  about: "forks of a zygote and of a running VM, step by step, no HTTP",
  async run(report) {
    await using host = await openOwnHost();
    const { fork } = await host.engine.facts();
    if (!fork.isPossible) {
      report(`forks are not used here: ${fork.reason}`);
      return [];
    }
    const parent = await warmClone(host);
    const ofRunning = new Map<Step, number[]>();
    for (let round = 0; round < rounds; round++) await timeFork(host, parent.machine, ofRunning);
    await printsFortyTwo(parent.session);
    report(`${rounds} forks of a running VM`);
    await parent.session.detach();
    const zygote = await parent.machine.pause();
    const ofZygote = new Map<Step, number[]>();
    for (let round = 0; round < rounds; round++) await timeFork(host, zygote, ofZygote);
    report(`${rounds} forks of a zygote`);
    await zygote.end();
    await host.directories.remove(zygote.vmId);
    return [
      ...figuresOf("zygote", ofZygote, {}),
      ...figuresOf("running VM", ofRunning, { "parent's pause": "≤ 8", "fork → first Python result": "≤ 35" }),
    ];
  },
};
