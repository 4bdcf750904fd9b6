import { randomBytes } from "node:crypto";
import { defaultShape } from "@instavm/contract";
import { newestTemplate, openOwnHost, printsFortyTwo, someVmId } from "../own-host.ts";
import type { Figure, Suite } from "../result.ts";
import { summarise } from "../statistics.ts";

const rounds = 15;

const steps = [
  "make the directory",
  "copy the disk, start QEMU",
  "agent answers and is activated",
  "first Python result",
  "second Python result",
  "end and remove",
] as const;
type Step = (typeof steps)[number];

/** What a file clone's time is made of, step by step and with nothing else in the way. */
export const trace: Suite = {
  name: "trace",
  about: "one file clone step by step, no HTTP",
  async run(report) {
    await using host = await openOwnHost();
    const source = await newestTemplate();
    const durations = new Map<Step, number[]>(steps.map((step) => [step, []]));
    for (let round = 0; round <= rounds; round++) {
      let previous = performance.now();
      const done = (step: Step): void => {
        const now = performance.now();
        if (round > 0) durations.get(step)?.push(now - previous);
        previous = now;
      };
      const vmId = someVmId();
      const directory = await host.directories.create(vmId);
      done("make the directory");
      const rootfsPath = host.image.boot.rootfsPath;
      const machine = await host.engine.clone({
        vmId,
        directory,
        shape: defaultShape,
        rootfsPath,
        source,
        priority: "normal",
      });
      done("copy the disk, start QEMU");
      const session = await host.link.connect(machine.agentSocketPath, {
        timeoutMs: 30_000,
        activate: {
          identity: { entropy: randomBytes(64), hostname: vmId, machineId: randomBytes(16).toString("hex") },
          unixTimeMs: Date.now(),
          env: {},
        },
      });
      done("agent answers and is activated");
      await printsFortyTwo(session);
      done("first Python result");
      await printsFortyTwo(session);
      done("second Python result");
      await session.detach();
      await machine.end();
      await host.directories.remove(vmId);
      done("end and remove");
    }
    report(`${rounds} clones`);
    return steps.map((step): Figure => ({
      name: `trace: ${step}`,
      unit: "ms",
      summary: summarise(durations.get(step) ?? []),
    }));
  },
};
