import { InstaVmError, type Shape } from "@instavm/contract";
import { type CloneParts, type CloneRequest, startClone } from "../host/start-clone.ts";
import type { Template } from "../ports/files.ts";
import type { WarmUpStep } from "../templates/warm-up-steps.ts";
import type { Sandbox } from "../vm/sandbox.ts";
import { untilAborted } from "../waiting/deadline.ts";
import { buildZygote, isSilence, silencesLimit, type Zygote } from "./zygote-builder.ts";

/** How zygotes are kept. */
export interface ZygoteSettings {
  /** The memory of all of them may be so much; 0 = no zygotes, every start is a file clone. */
  readonly memoryMib: number;
  readonly warmUp: readonly WarmUpStep[];
  /** After one could not be made, none is tried for so long. */
  readonly retryMs: number;
}

/** What they need. */
export interface ZygotesParts {
  readonly clone: CloneParts;
  readonly settings: ZygoteSettings;
}

/** What is known of one template. */
interface Place {
  readonly memoryMib: number;
  /** Settles, never rejects, when it was made, or could not be. */
  made: Promise<void> | undefined;
  /** undefined while it is being made. */
  zygote: Zygote | undefined;
  usedAtMs: number;
}

/**
 * For each template in use one VM that is restored, warmed up and stands still, to be forked. They are made in the
 * background, where the engine can fork; the least recently used goes when the memory is needed.
 */
export class Zygotes {
  readonly #parts: ZygotesParts;
  readonly #closing = new AbortController();
  readonly #places = new Map<string, Place>();
  readonly #making = new Set<Promise<void>>();
  readonly #ending = new Set<Promise<unknown>>();
  /** How many forks in a row stayed silent. */
  readonly #silences = new WeakMap<Zygote, number>();
  /** undefined until the engine was asked. */
  #canFork: boolean | undefined;
  #nextTryMs = Number.NEGATIVE_INFINITY;

  constructor(parts: ZygotesParts) {
    this.#parts = parts;
  }

  /** How many can be forked now. */
  get ready(): number {
    return [...this.#places.values()].filter(({ zygote }) => zygote !== undefined).length;
  }

  /** False when no VM of this shape can have one. */
  mayHave({ memoryMib }: Shape): boolean {
    return this.#canFork !== false && memoryMib <= this.#parts.settings.memoryMib;
  }

  /** The zygote of a template; undefined = not now, and it is being made if there can be one. */
  find(template: Template): Zygote | undefined {
    if (!this.mayHave(template.key.shape)) return undefined;
    const name = nameOf(template);
    const place = this.#places.get(name);
    if (place === undefined) {
      this.#begin(name, template);
      return undefined;
    }
    place.usedAtMs = this.#parts.clone.clock.monotonicMs();
    return place.zygote;
  }

  /** As `find`, for somebody who is in no hurry: waits while the zygote is being made. */
  async findOrAwait(template: Template, signal: AbortSignal): Promise<Zygote | undefined> {
    const now = this.find(template);
    if (now !== undefined) return now;
    const making = this.#places.get(nameOf(template))?.made;
    if (making !== undefined) await untilAborted(making, signal);
    return this.find(template);
  }

  /**
   * Makes a fork. undefined = it failed, and a file clone is the way: a zygote that cannot be forked is given up, and the
   * next is made when it is asked for. An agent that did not answer in time may only have found the host busy, and costs
   * the zygote no more than that fork, until several in a row stay silent. Throws a full disk, and an aborted signal's reason.
   */
  async tryFork(
    request: CloneRequest & { readonly origin: Zygote },
    signal: AbortSignal,
  ): Promise<Sandbox | undefined> {
    const { clone } = this.#parts;
    const { origin: zygote } = request;
    try {
      const sandbox = await startClone(request, clone, signal);
      this.#silences.delete(zygote);
      return sandbox;
    } catch (error) {
      // A full disk is not the zygote's fault, and a file clone would only find it full again.
      if (signal.aborted || !(error instanceof InstaVmError) || error.code === "disk_full") throw error;
      clone.log.warn("vm.fork_failed", { zygote: zygote.machine.vmId, error });
      const silences = isSilence(error) ? (this.#silences.get(zygote) ?? 0) + 1 : silencesLimit;
      this.#silences.set(zygote, silences);
      if (silences >= silencesLimit) this.#giveUp(zygote, error.message);
      return undefined;
    }
  }

  /** Ends all of them, and what is being made. */
  async close(): Promise<void> {
    this.#closing.abort(new InstaVmError("unavailable", "the server stops; the zygote is not finished"));
    await Promise.all(this.#making);
    for (const { zygote } of this.#places.values()) {
      if (zygote !== undefined) this.#remove(zygote);
    }
    await Promise.all(this.#ending);
  }

  #giveUp(zygote: Zygote, reason: string): void {
    this.#parts.clone.log.warn("zygote.given_up", { vmId: zygote.machine.vmId, reason });
    this.#remove(zygote);
    this.#postpone();
  }

  #begin(name: string, template: Template): void {
    const { clock } = this.#parts.clone;
    const { memoryMib } = template.key.shape;
    if (this.#closing.signal.aborted || clock.monotonicMs() < this.#nextTryMs || !this.#makeRoom(memoryMib)) return;
    const place: Place = { memoryMib, made: undefined, zygote: undefined, usedAtMs: clock.monotonicMs() };
    this.#places.set(name, place);
    const making = this.#fill(name, place, template).finally(() => this.#making.delete(making));
    this.#making.add(making);
    place.made = making;
  }

  async #fill(name: string, place: Place, template: Template): Promise<void> {
    if (!(await this.#make(place, template))) this.#places.delete(name);
  }

  /** False when there is none after all. Never rejects. */
  async #make(place: Place, template: Template): Promise<boolean> {
    const { clone, settings } = this.#parts;
    const { signal } = this.#closing;
    try {
      const { fork } = await clone.engine.facts({ signal });
      this.#canFork = fork.isPossible;
      if (!fork.isPossible) {
        clone.log.info("zygote.none", { reason: fork.reason });
        return false;
      }
      const zygote = await buildZygote(template, { clone, warmUp: settings.warmUp, signal });
      place.zygote = zygote;
      void zygote.machine.ended.then(() => this.#remove(zygote));
      return true;
    } catch (error) {
      if (!signal.aborted) {
        clone.log.warn("zygote.not_made", { error, nextTryInMs: settings.retryMs });
        this.#postpone();
      }
      return false;
    }
  }

  #postpone(): void {
    this.#nextTryMs = this.#parts.clone.clock.monotonicMs() + this.#parts.settings.retryMs;
  }

  /** Ends the least recently used until there is room; false when what is being made takes it. */
  #makeRoom(memoryMib: number): boolean {
    const limitMib = this.#parts.settings.memoryMib;
    const usedMib = (): number => [...this.#places.values()].reduce((sum, place) => sum + place.memoryMib, 0);
    while (usedMib() + memoryMib > limitMib) {
      const oldest = [...this.#places.values()]
        .filter((place) => place.zygote !== undefined)
        .toSorted((one, other) => one.usedAtMs - other.usedAtMs)[0];
      if (oldest?.zygote === undefined) return false;
      this.#remove(oldest.zygote);
    }
    return true;
  }

  #remove(zygote: Zygote): void {
    for (const [name, place] of this.#places) {
      if (place.zygote !== zygote) continue;
      this.#places.delete(name);
      const ending = this.#parts.clone.leftovers
        .release(zygote.machine.vmId, zygote.machine)
        .finally(() => this.#ending.delete(ending));
      this.#ending.add(ending);
    }
  }
}

function nameOf({ key }: Template): string {
  return JSON.stringify(key);
}
