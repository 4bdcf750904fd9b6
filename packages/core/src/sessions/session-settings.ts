/** Bounds of the clients' calls, in ms. */
export interface SessionSettings {
  /** How long a VM may take to be ready, the making of its template included. */
  readonly createTimeoutMs: number;
  /** How long beyond its time limit the guest may take to end a cell. */
  readonly graceMs: number;
  /** How long a guest that let this pass may take to answer a ping. */
  readonly pingTimeoutMs: number;
}
