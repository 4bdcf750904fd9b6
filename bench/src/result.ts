import type { Summary } from "./statistics.ts";

/** One row of the table: what was measured, in which unit, and what was seen. */
export interface Figure {
  readonly name: string;
  readonly unit: "ms" | "MiB" | "%" | "per s" | "of n" | "×" | "MiB/s";
  readonly summary: Summary;
  /** What this release promises, for a reader to compare; absent where nothing is promised. */
  readonly promise?: string;
  readonly note?: string;
}

/** How much the suites do that can do any amount. */
export interface Extent {
  /** How long load lasts. */
  readonly minutes: number;
  /** How large a transferred file is, in MiB. */
  readonly transferMib: number;
}

/** One thing that can be measured on its own. */
export interface Suite {
  readonly name: string;
  /** One line for `--list`. */
  readonly about: string;
  run(report: (line: string) => void, extent: Extent): Promise<readonly Figure[]>;
}
