import { residentMib } from "./process-figures.ts";

/** One look at a process. */
interface Sample {
  readonly atMs: number;
  readonly mib: number;
}

/** Watches the resident memory of a process until it is disposed of. */
export class MemorySeries implements Disposable {
  readonly #startedAt = performance.now();
  readonly #timer: NodeJS.Timeout;
  readonly samples: Sample[] = [];

  constructor(pid: number, everyMs: number) {
    const look = (): void => {
      void residentMib(pid).then(
        (mib) => this.samples.push({ atMs: performance.now() - this.#startedAt, mib }),
        // It has ended.
        () => clearInterval(this.#timer),
      );
    };
    this.#timer = setInterval(look, everyMs);
    look();
  }

  /** The memory of all samples between two times, in MiB; at least one. */
  between(fromMs: number, toMs: number): readonly number[] {
    const found = this.samples.filter(({ atMs }) => atMs >= fromMs && atMs <= toMs);
    return (found.length > 0 ? found : this.samples.slice(-1)).map(({ mib }) => mib);
  }

  /** As text: one figure every so often. */
  shown(everyMs: number): string {
    const chosen = this.samples.filter(
      ({ atMs }, index) =>
        index === 0 || Math.floor(atMs / everyMs) > Math.floor((this.samples[index - 1]?.atMs ?? 0) / everyMs),
    );
    return chosen.map(({ atMs, mib }) => `${(atMs / 1000).toFixed(0)} s: ${mib.toFixed(1)}`).join(", ");
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
