import type { Summary } from "./statistics.ts";

/** One row of the table: what was measured, in which unit, and what was seen. */
export interface Figure {
  readonly name: string;
  readonly unit: "ms" | "MiB" | "%" | "per s" | "of n" | "×";
  readonly summary: Summary;
  /** What this release promises, for a reader to compare; absent where nothing is promised. */
  readonly promise?: string;
  readonly note?: string;
}

/** One thing that can be measured on its own. */
export interface Suite {
  readonly name: string;
  /** One line for `--list`. */
  readonly about: string;
  run(report: (line: string) => void): Promise<readonly Figure[]>;
}
