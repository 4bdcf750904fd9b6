/** Bounds of the clients' calls, in ms. */
export interface SessionSettings {
  /** How long a VM may take to be ready, the making of its template included. */
  readonly createTimeoutMs: number;
  /** How long beyond its time limit the guest may take to end a cell. */
  readonly graceMs: number;
  /** How long a guest that is asked whether it lives, shortly before a cell's limit, may take to answer. */
  readonly pingTimeoutMs: number;
}
