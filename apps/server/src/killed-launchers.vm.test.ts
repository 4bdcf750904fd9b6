import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type VmId, vmIdSchema } from "@instavm/contract";
import { GuestLink } from "@instavm/guest-link";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Telling, verifyBlocks } from "./testing/block-writers.ts";
import { checkFileSystem } from "./testing/file-system-check.ts";
import type { ForkRoom } from "./testing/fork-room.ts";
import { until } from "./testing/until.ts";
import { openWritingSource } from "./testing/writing-source.ts";

const kills = Number(process.env["INSTAVM_FORK_KILLS"] ?? 8);
/** A copy that waits for its *go* notices at once that nobody will give it. */
const noticeMs = 250;

describe("a launcher that is killed while it forks a VM that writes", () => {
  const opened = new AsyncDisposableStack();
  let room: ForkRoom;
  let telling: Telling;
  /** From before the request is read to after the copy's agent has answered. */
  let longestDelayMs = 0;
  beforeAll(async () => {
    ({ room, telling } = await openWritingSource(opened));
    const startedAt = performance.now();
    const copy = await room.fork(room.source.vmId);
    longestDelayMs = performance.now() - startedAt;
    await copy.destroy({ cause: "killed", reason: "it was only to be timed" });
  });
  afterAll(async () => await opened.disposeAsync());

  /** Kills the launcher at the given part of the longest delay. */
  const killLauncher = async (part: number): Promise<void> => {
    const pid = room.launcherPid();
    await sleep(part * longestDelayMs);
    process.kill(pid, "SIGKILL");
  };

  const untilOnlySource = async (): Promise<void> => {
    const only = String([room.source.vmId]);
    await until("nothing is left but the source", () => {
      return String([...room.processes().keys()]) === only && String(room.directories()) === only;
    });
  };

  /** The host lives on: it starts a launcher and clears away what it was not told of. True = the fork came to be. */
  const underLivingHost = async (part: number): Promise<boolean> => {
    const forking = room.fork(room.source.vmId).catch((error: unknown) => String(error));
    await killLauncher(part);
    const copy = await forking;
    if (typeof copy !== "string") await copy.destroy({ cause: "killed", reason: "it came to be" });
    return typeof copy !== "string";
  };

  /** The server dies with its launcher: the next ones find the copy, or nothing of it runs. True = it came to be. */
  const underDyingHost = async (part: number): Promise<boolean> => {
    const vmId = someVmId();
    const directory = room.directoryOf(vmId);
    {
      await using server = await room.openEngine();
      const source = await server.engine.adopt(room.source.vmId, room.directoryOf(room.source.vmId));
      await mkdir(directory);
      void source?.fork({ vmId, directory, priority: "normal" }).catch(() => {});
      await killLauncher(part);
    }
    await using next = await room.openEngine();
    await sleep(noticeMs);
    const isKnown = async (): Promise<boolean> => (await next.engine.running()).includes(vmId);
    const isThere = (): boolean => room.processes().has(vmId);
    await until("the launcher knows what is there", async () => (await isKnown()) === isThere());
    const machine = await next.engine.adopt(vmId, directory);
    if (machine !== undefined) {
      expect(await textOf(machine.agentSocketPath, "cat /dev/shm/writers | wc -w")).toBe("4\n");
      expect([await isKnown(), isThere()]).toEqual([true, true]);
      await machine.end();
    }
    await until("nothing of the copy runs", async () => !(await isKnown()) && !isThere());
    await rm(directory, { recursive: true });
    return machine !== undefined;
  };

  test(
    `${kills} times: the source is right to the byte, a half-made copy is gone, a finished one is found`,
    { timeout: 60_000 + 15_000 * kills },
    async () => {
      const figures = (): readonly [number, number] => {
        const proc = `/proc/${room.pidOf(room.source.vmId)}`;
        return [readdirSync(`${proc}/fd`).length, readdirSync(`${proc}/task`).length];
      };
      const pid = room.pidOf(room.source.vmId);
      const [descriptors] = figures();
      const finished = { livingHost: 0, dyingHost: 0 };
      for (let round = 0; round < kills; round += 1) {
        const before = telling.acknowledged;
        // The golden ratio's multiples cover the time evenly, however many rounds there are.
        const part = (round * 0.618_034) % 1;
        if (round % 2 === 0) finished.livingHost += Number(await underLivingHost(part));
        else finished.dyingHost += Number(await underDyingHost(part));
        await untilOnlySource();
        expect(room.processes().get(room.source.vmId)).toBe(pid);
        await telling.more(5);
        await until("every writer gets on", () => {
          return telling.acknowledged.every((count, writer) => count > (before[writer] ?? 0));
        });
      }
      const { livingHost, dyingHost } = finished;
      console.info(`${livingHost} + ${dyingHost} of ${kills} forks came to be, ${telling.lines} lines of the stream`);
      await until("descriptors are closed, the dead are reaped, one launcher is left", () => {
        return figures()[0] <= descriptors && zombies() === 0 && launchersOf(room.directoryOf(room.source.vmId)) === 1;
      });
      expect(room.log.count("vm.release_failed")).toBe(0);
      await verifyBlocks(room.source);
      process.kill(pid, "SIGSTOP");
      expect(await checkFileSystem(join(room.directoryOf(room.source.vmId), "disk.raw"))).toBe("");
      process.kill(pid, "SIGCONT");
    },
  );
});

function someVmId(): VmId {
  return vmIdSchema.parse(`k${randomBytes(16).toString("hex").slice(0, 19)}`);
}

/** What a script prints in the VM behind a socket. */
async function textOf(socketPath: string, script: string): Promise<string> {
  const session = await new GuestLink().connect(socketPath, { timeoutMs: 60_000 });
  try {
    const call = session.exec({ command: { script } });
    let printed = "";
    for await (const event of call) if (event.type === "stdout") printed += Buffer.from(event.data).toString();
    await call.ended;
    return printed;
  } finally {
    await session.detach();
  }
}

function processTexts(file: "cmdline" | "stat"): readonly string[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map((pid) => {
    try {
      return readFileSync(`/proc/${pid}/${file}`, "utf8");
    } catch {
      return ""; // It ended in this moment.
    }
  });
}

function zombies(): number {
  return processTexts("stat").filter((stat) => /\((qemu|instavm).*\) Z /.test(stat)).length;
}

/** The launchers of a VM's state directory. */
function launchersOf(vmDirectory: string): number {
  const stateDir = join(vmDirectory, "../..");
  const isOne = (text: string): boolean => text.includes("instavm-launcher\0") && text.includes(`\0${stateDir}\0`);
  return processTexts("cmdline").filter(isOne).length;
}
