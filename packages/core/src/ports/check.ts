/** One prerequisite as `instavm doctor` shows it. */
export interface Check {
  /** A noun phrase: `QEMU`, `hardware virtualization`. */
  readonly subject: string;
  readonly outcome: "ok" | "warning" | "failed";
  readonly seen: string;
  readonly expected: string;
  /** The next command to type; empty when nothing is to do. */
  readonly remedy: string;
}
