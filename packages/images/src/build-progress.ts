/** What a build is doing now. Reported when a step starts, about once a second while it runs, and when it ends. */
export interface BuildProgress {
  /** A noun phrase: `packages: unpack`. */
  readonly step: string;
  /** ms since the build started. */
  readonly elapsedMs: number;
  /** How far the step is, e.g. 120 of 640 packages; undefined where nothing can be counted. */
  readonly count: { readonly done: number; readonly total: number } | undefined;
}

/** One line for a terminal or a log: `  42 s  unpack packages 120/640`. */
export function formatProgress(progress: BuildProgress): string {
  const count = progress.count === undefined ? "" : ` ${progress.count.done}/${progress.count.total}`;
  return `${String(Math.round(progress.elapsedMs / 1000)).padStart(4)} s  ${progress.step}${count}`;
}

/** Says what is done, at most once a second within a step. */
export class ProgressReport {
  readonly #startedMs = performance.now();
  readonly #report: (progress: BuildProgress) => void;
  #step = "";
  #reportedMs = 0;

  constructor(report: (progress: BuildProgress) => void = () => {}) {
    this.#report = report;
  }

  /** Enters a step, or says how far it is. */
  at(step: string, count?: { readonly done: number; readonly total: number }): void {
    const nowMs = performance.now();
    if (step === this.#step && nowMs - this.#reportedMs < 1000) return;
    this.#step = step;
    this.#reportedMs = nowMs;
    this.#report({ step, elapsedMs: nowMs - this.#startedMs, count });
  }
}

/**
 * Reads mmdebstrap's verbose output line by line and turns it into progress. apt and dpkg speak of one package
 * a line; the total is what apt announces.
 */
export class BootstrapProgress {
  readonly #report: ProgressReport;
  #rest = "";
  #total = 0;
  #done = new Map<string, number>();

  constructor(report: ProgressReport) {
    this.#report = report;
  }

  /** Takes output as it comes, in pieces of any size. */
  add(chunk: Buffer): void {
    const lines = (this.#rest + chunk.toString("latin1")).split("\n");
    this.#rest = (lines.pop() ?? "").slice(-4096);
    for (const line of lines) this.#line(line);
  }

  #line(line: string): void {
    const announced = /(\d+) newly installed/.exec(line)?.[1];
    // Twice: the essential packages, then all others.
    if (announced !== undefined) this.#total += Number(announced);
    const own = /^INSTAVM step (.+)$/.exec(line)?.[1];
    if (own !== undefined) this.#report.at(own);
    else if (/^Get:\d+ .*\b(?:amd64|all)\b.*\[/.test(line)) this.#count("fetch packages");
    else if (line.startsWith("Unpacking ")) this.#count("unpack packages");
    else if (line.startsWith("Setting up ")) this.#count("set up packages");
  }

  #count(step: string): void {
    const done = (this.#done.get(step) ?? 0) + 1;
    this.#done.set(step, done);
    this.#report.at(step, { done, total: Math.max(this.#total, done) });
  }
}
