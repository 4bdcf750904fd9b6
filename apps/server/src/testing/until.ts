import { setTimeout as sleep } from "node:timers/promises";

/** Resolves when it holds; throws what it was about after a minute. */
export async function until(what: string | (() => string), holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await holds())) {
    if (performance.now() > deadline)
      throw new Error(`after a minute not yet: ${typeof what === "string" ? what : what()}`);
    await sleep(5);
  }
}
