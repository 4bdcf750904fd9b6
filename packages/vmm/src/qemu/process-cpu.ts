import { readFile } from "node:fs/promises";

/** Linux counts a process's time for readers of /proc in hundredths of a second. */
const tickMs = 10;
/** Positions of user and system time behind the program's name, which may hold anything. */
const [userField, systemField] = [11, 12];

/** CPU time of all threads of a process so far, in ms; undefined when it is gone. */
export async function processCpuMs(pid: number): Promise<number | undefined> {
  let line: string;
  try {
    line = await readFile(`/proc/${pid}/stat`, "utf8");
  } catch {
    // Its end is noticed, and said, elsewhere.
    return undefined;
  }
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  const ticks = Number(fields[userField]) + Number(fields[systemField]);
  return Number.isFinite(ticks) ? ticks * tickMs : undefined;
}
