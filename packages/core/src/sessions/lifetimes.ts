import type { SessionId } from "@instavm/contract";
import type { Clock } from "../ports/surroundings.ts";

/** The wall clock may be stepped while a timer runs, so no timer is longer than this. */
const longestTimerMs = 60_000;

/** So many entries of forgotten sessions are held before they are cleared away. */
const staleLimit = 64;

interface Due {
  readonly sessionId: SessionId;
  readonly atMs: number;
}

/** Calls back for each session when its lifetime is over. One timer for all of them. */
export class Lifetimes {
  readonly #clock: Clock;
  readonly #onExpired: (sessionId: SessionId) => void;
  /** A binary heap, the earliest first. Holds stale entries until they come up. */
  readonly #heap: Due[] = [];
  readonly #dueAtMs = new Map<SessionId, number>();
  #timer: { readonly atMs: number; readonly cancel: () => void } | undefined;

  constructor(clock: Clock, onExpired: (sessionId: SessionId) => void) {
    this.#clock = clock;
    this.#onExpired = onExpired;
  }

  /** How many sessions are watched. */
  get count(): number {
    return this.#dueAtMs.size;
  }

  /** Watches a session; a later call moves its end. `atMs` is wall clock. */
  schedule(sessionId: SessionId, atMs: number): void {
    this.#dueAtMs.set(sessionId, atMs);
    this.#push({ sessionId, atMs });
    this.#arm();
  }

  /** Forgets a session. */
  cancel(sessionId: SessionId): void {
    this.#dueAtMs.delete(sessionId);
    if (this.#dueAtMs.size === 0) this.stop();
    else if (this.#heap.length > 2 * this.#dueAtMs.size + staleLimit) this.#dropStale();
  }

  /** Forgets all of them. */
  stop(): void {
    this.#dueAtMs.clear();
    this.#heap.length = 0;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(): void {
    const next = this.#heap[0];
    if (next === undefined || (this.#timer !== undefined && this.#timer.atMs <= next.atMs)) return;
    this.#timer?.cancel();
    const delayMs = Math.min(Math.max(next.atMs - this.#clock.nowMs(), 0), longestTimerMs);
    this.#timer = { atMs: next.atMs, cancel: this.#clock.after(delayMs, () => this.#onTimer()) };
  }

  #onTimer(): void {
    this.#timer = undefined;
    const nowMs = this.#clock.nowMs();
    const expired: SessionId[] = [];
    for (let next = this.#heap[0]; next !== undefined && next.atMs <= nowMs; next = this.#heap[0]) {
      this.#pop();
      if (this.#dueAtMs.get(next.sessionId) !== next.atMs) continue;
      this.#dueAtMs.delete(next.sessionId);
      expired.push(next.sessionId);
    }
    this.#arm();
    for (const sessionId of expired) this.#onExpired(sessionId);
  }

  #dropStale(): void {
    const live = [...this.#dueAtMs].map(([sessionId, atMs]) => ({ sessionId, atMs }));
    // What is sorted is a heap.
    live.sort((one, other) => one.atMs - other.atMs);
    this.#heap.splice(0, this.#heap.length, ...live);
  }

  #push(due: Due): void {
    let index = this.#heap.push(due) - 1;
    for (;;) {
      const parentIndex = Math.floor((index - 1) / 2);
      const parent = this.#heap[parentIndex];
      if (index === 0 || parent === undefined || parent.atMs <= due.atMs) break;
      this.#heap[index] = parent;
      index = parentIndex;
    }
    this.#heap[index] = due;
  }

  #pop(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    let index = 0;
    for (;;) {
      const childIndex = this.#earlierChild(index);
      const child = this.#heap[childIndex];
      if (child === undefined || child.atMs >= last.atMs) break;
      this.#heap[index] = child;
      index = childIndex;
    }
    this.#heap[index] = last;
  }

  #earlierChild(index: number): number {
    const [left, right] = [this.#heap[2 * index + 1], this.#heap[2 * index + 2]];
    return left !== undefined && right !== undefined && right.atMs < left.atMs ? 2 * index + 2 : 2 * index + 1;
  }
}
