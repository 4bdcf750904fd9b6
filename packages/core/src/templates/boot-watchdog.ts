import { InstaVmError } from "@instavm/contract";
import type { RunningMachine } from "../ports/engine.ts";
import type { Clock, Log } from "../ports/surroundings.ts";
import type { Deadline } from "../waiting/deadline.ts";

/** How long a boot may take. */
export interface BootLimits {
  /** A boot that had the time of a CPU is waited for so long, in ms. */
  readonly bootTimeoutMs: number;
  /** A boot that had less CPU time than this, in ms, is on a busy host, and goes on. */
  readonly bootCpuMs: number;
  /** No boot is waited for longer, in ms. */
  readonly bootLimitMs: number;
}

const lookEveryMs = 5_000;

/**
 * Fires with `guest_unreachable` when a boot hangs. Time alone does not tell: a host with many busy VMs gives a healthy
 * boot a tenth of a CPU, and to end it would only have it begin anew. So one that has had little of the CPU is given more time.
 */
export function watchBoot(
  machine: Pick<RunningMachine, "cpuMs">,
  limits: BootLimits,
  { clock, log }: { readonly clock: Clock; readonly log: Log },
): Deadline {
  const hung = new AbortController();
  const startedAtMs = clock.monotonicMs();
  let isOver = false;
  let cancel = clock.after(limits.bootTimeoutMs, () => void look());
  async function look(): Promise<void> {
    const cpuMs = await machine.cpuMs?.().catch((error: unknown) => {
      log.warn("template.cpu_unknown", { error });
      return undefined;
    });
    if (isOver) return;
    const waitedMs = clock.monotonicMs() - startedAtMs;
    if (waitedMs < limits.bootLimitMs && cpuMs !== undefined && cpuMs < limits.bootCpuMs) {
      cancel = clock.after(lookEveryMs, () => void look());
      return;
    }
    const had = cpuMs === undefined ? "" : ` with ${Math.round(cpuMs)} ms of CPU time`;
    hung.abort(
      new InstaVmError(
        "guest_unreachable",
        `the booting VM's agent did not answer in ${Math.round(waitedMs)} ms${had}`,
      ),
    );
  }
  return {
    signal: hung.signal,
    hasExpired: () => hung.signal.aborted,
    [Symbol.dispose]: () => {
      isOver = true;
      cancel();
    },
  };
}
