import { setImmediate } from "node:timers/promises";

const settleTurns = 40;
const patienceMs = 10_000;

/** Lets everything that is already under way, and waits for no clock, happen. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < settleTurns; turn += 1) await setImmediate();
}

/** Waits until `isSo`; rejects with the text after 10 s of real time. */
export async function eventually(isSo: () => boolean, text: string): Promise<void> {
  const deadlineMs = Date.now() + patienceMs;
  while (!isSo()) {
    if (Date.now() > deadlineMs) throw new Error(`never came true: ${text}`);
    await setImmediate();
  }
}

/** What a promise rejects with, handled from now on; undefined when it resolves. */
export async function failureOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
    return undefined;
  } catch (error) {
    return error;
  }
}
