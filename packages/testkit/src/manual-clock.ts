import type { Clock } from "@instavm/core";
import { settle } from "./eventually.ts";

interface Timer {
  readonly atMs: number;
  readonly callback: () => void;
}

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  readonly #timers = new Set<Timer>();
  readonly #originMs: number;
  #elapsedMs = 0;
  #stepMs = 0;

  /** `originMs`: the wall clock at the start. */
  constructor(originMs: number = Date.UTC(2026, 0, 1)) {
    this.#originMs = originMs;
  }

  /** Timers that have not fired. */
  get timerCount(): number {
    return this.#timers.size;
  }

  nowMs(): number {
    return this.#originMs + this.#elapsedMs + this.#stepMs;
  }

  monotonicMs(): number {
    return this.#elapsedMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { atMs: this.#elapsedMs + Math.max(delayMs, 0), callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Moves the wall clock alone, as an administrator or NTP does. */
  stepWallClock(byMs: number): void {
    this.#stepMs += byMs;
  }

  /** Lets time pass: each timer fires at its time, and what it causes happens before the next one fires. */
  async advance(byMs: number): Promise<void> {
    const untilMs = this.#elapsedMs + byMs;
    await settle();
    for (let next = this.#earliest(untilMs); next !== undefined; next = this.#earliest(untilMs)) {
      this.#timers.delete(next);
      this.#elapsedMs = Math.max(this.#elapsedMs, next.atMs);
      next.callback();
      await settle();
    }
    this.#elapsedMs = untilMs;
  }

  /** Lets time pass in small steps until it is so; rejects with the text after an hour of this clock. */
  async passUntil(isSo: () => boolean, text: string): Promise<void> {
    const deadlineMs = this.#elapsedMs + 3_600_000;
    for (let stepMs = 10; !isSo(); stepMs = Math.min(2 * stepMs, 1_000)) {
      if (this.#elapsedMs > deadlineMs) throw new Error(`never came true: ${text}`);
      await this.advance(stepMs);
    }
  }

  #earliest(untilMs: number): Timer | undefined {
    let earliest: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.atMs <= untilMs && (earliest === undefined || timer.atMs < earliest.atMs)) earliest = timer;
    }
    return earliest;
  }
}
