/** What every call that can wait takes. */
export interface Waiting {
  readonly signal?: AbortSignal;
  /** A bound of its own, in ms; a port's default applies without it. */
  readonly timeoutMs?: number;
}
