import { readdirSync, readFileSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { InstaVmError } from "@instavm/contract";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Telling, verifyBlocks } from "./testing/block-writers.ts";
import type { ForkRoom } from "./testing/fork-room.ts";
import { until } from "./testing/until.ts";
import { openWritingSource } from "./testing/writing-source.ts";

const kills = Number(process.env["INSTAVM_FORK_KILLS"] ?? 8);
/** From a copy's first instruction to after its agent has answered. */
const longestDelayMs = 8;

describe("a fork of a VM that writes, killed while it is made", () => {
  const opened = new AsyncDisposableStack();
  let room: ForkRoom;
  let telling: Telling;
  beforeAll(async () => {
    ({ room, telling } = await openWritingSource(opened));
  });
  afterAll(async () => await opened.disposeAsync());

  test(
    `fails clearly, ${kills} times; the source goes on, and the next fork works`,
    { timeout: 60_000 + 10_000 * kills },
    async () => {
      const pid = room.pidOf(room.source.vmId);
      const reasons = new Map<string, number>();
      for (let round = 0; round < kills; round += 1) {
        // The kernel's list can miss one while another ends; the source must be in it in any case.
        const siblings = childrenOf(parentOf(pid)).add(pid);
        const forking = room.fork(room.source.vmId).catch((error: unknown) => error);
        await killNext(parentOf(pid), siblings, (round / kills) ** 2 * longestDelayMs);
        const outcome = await forking;
        const reason = outcome instanceof InstaVmError ? `${outcome.code}: ${outcome.message}` : "it was made before";
        expect(reason).toMatch(/^not_forkable: .* the child ended before|^vm_lost: .*signal 9|^it was made before$/);
        const kind = reason.replaceAll(/\b[a-z0-9]{20}\b/g, "…");
        reasons.set(kind, (reasons.get(kind) ?? 0) + 1);
        const left = (): string => `${String([...room.processes()])}; ${String(room.directories())}`;
        const isClean = (): boolean => left() === `${room.source.vmId},${pid}; ${room.source.vmId}`;
        await until(() => `after ${reason}: nothing is left but ${room.source.vmId}, of ${left()}`, isClean);
        await telling.more(5);
      }
      console.info(reasons);
      expect([...reasons.keys()].some((reason) => reason !== "it was made before")).toBe(true);
      const next = await room.fork(room.source.vmId);
      await verifyBlocks(next);
      await next.destroy({ cause: "killed", reason: "it was looked at" });
      await telling.more(20);
      await verifyBlocks(room.source);
    },
  );
});

/** Kills the first process that is not among the siblings, so many ms after it is seen. */
async function killNext(parent: number, siblings: ReadonlySet<number>, delayMs: number): Promise<void> {
  const giveUpAt = performance.now() + 30_000;
  for (;;) {
    const made = [...childrenOf(parent)].find((pid) => !siblings.has(pid));
    if (made === undefined) {
      if (performance.now() > giveUpAt) throw new Error("no fork began");
      await setImmediate();
      continue;
    }
    const killAt = performance.now() + delayMs;
    while (performance.now() < killAt) await setImmediate();
    process.kill(made, "SIGKILL");
    return;
  }
}

function parentOf(pid: number): number {
  return Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}

function childrenOf(pid: number): Set<number> {
  const lists = readdirSync(`/proc/${pid}/task`).map((task) => childrenOfThread(pid, task));
  return new Set(lists.flatMap((list) => list.trim().split(" ").filter(Boolean).map(Number)));
}

/** Of a thread that ended meanwhile another one has taken the children over; the next look finds them there. */
function childrenOfThread(pid: number, task: string): string {
  try {
    return readFileSync(`/proc/${pid}/task/${task}/children`, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ESRCH")) return "";
    throw error;
  }
}
