import { setImmediate } from "node:timers/promises";
import { InstaVmError } from "@instavm/contract";

/** What happens at one point of a run. */
export type Fault =
  /** The call fails before it has any effect. */
  | { readonly kind: "fail"; readonly error?: Error }
  /** Something outside happens, such as a client that goes away; the call goes on and sees what it sees. */
  | { readonly kind: "happen"; readonly what: () => void };

/**
 * Counts the calls of all fake ports and makes things go wrong at one of them. A call passes two points: before its
 * effect and after it. `fail` works at the first only: a port that took effect says so.
 */
export class Faults {
  /** The names of the points passed so far: `engine.clone` before, `engine.clone!` after. */
  readonly points: string[] = [];
  #planned: { readonly at: number | string; readonly fault: Fault } | undefined;
  #isDead = false;

  /** From now on no call has an effect or an answer: the program that made them is gone. */
  die(): void {
    this.#isDead = true;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /**
   * Plans one fault, in place of an earlier one: for the point with this number, counted from 1 from now on, or for
   * the next point with this name.
   */
  plan(at: number | string, fault: Fault): void {
    this.points.length = 0;
    this.#planned = { at, fault };
  }

  /** Plans nothing and forgets what was counted. */
  clear(): void {
    this.points.length = 0;
    this.#planned = undefined;
  }

  /** One call of a port: lets others run before and after, as a real one does, and heeds the signal on the way in. */
  async call<T>(name: string, signal: AbortSignal | undefined, effect: () => Promise<T> | T): Promise<T> {
    this.#pass(name, true);
    await this.#turn();
    signal?.throwIfAborted();
    const result = await effect();
    this.#pass(`${name}!`, false);
    await this.#turn();
    return result;
  }

  async #turn(): Promise<void> {
    await setImmediate();
    if (this.#isDead) await new Promise<never>(() => {});
  }

  #pass(name: string, canFail: boolean): void {
    this.points.push(name);
    if (this.#planned === undefined) return;
    const { at, fault } = this.#planned;
    if (at !== this.points.length && at !== name) return;
    this.#planned = undefined;
    if (fault.kind === "happen") fault.what();
    else if (canFail) throw fault.error ?? new InstaVmError("internal", `planned fault at ${name}`);
  }
}
