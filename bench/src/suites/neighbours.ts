import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Figure, Suite } from "../result.ts";
import { summarise } from "../statistics.ts";

const run = promisify(execFile);
const rounds = 15;
const python = ["/usr/bin/python3", "-c", "print(6*7)"] as const;

interface Neighbour {
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
}

const neighbours: readonly Neighbour[] = [
  {
    name: "bwrap: a Python of its own, no VM",
    program: "bwrap",
    args: ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-all", "--die-with-parent", ...python],
  },
  {
    name: "runsc (gVisor, ptrace): a Python of its own",
    program: "runsc",
    args: ["--platform=ptrace", "--network=none", "--ignore-cgroups", "do", ...python],
  },
];

async function measure(neighbour: Neighbour): Promise<Figure | undefined> {
  const durations: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    const startedAt = performance.now();
    const outcome = await run(neighbour.program, neighbour.args, { timeout: 30_000 }).catch((error: unknown) => error);
    const durationMs = performance.now() - startedAt;
    const printed =
      typeof outcome === "object" && outcome !== null && "stdout" in outcome ? String(outcome.stdout) : String(outcome);
    if (printed !== "42\n") return undefined;
    if (round > 0) durations.push(durationMs);
  }
  return { name: neighbour.name, unit: "ms", summary: summarise(durations) };
}

/** The same Python line in what people use instead of a VM. */
export const neighboursSuite: Suite = {
  name: "neighbours",
  about: "bwrap and gVisor running the same Python line on this machine",
  async run(report) {
    const figures: Figure[] = [];
    for (const neighbour of neighbours) {
      const figure = await measure(neighbour);
      if (figure === undefined) report(`${neighbour.program} does not run here; it is left out`);
      else figures.push(figure);
    }
    return figures;
  },
};
