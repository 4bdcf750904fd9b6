import { InstaVmError } from "@instavm/contract";
import type { Waiting } from "@instavm/core";
import { sleep, startDeadline } from "@instavm/process";
import { z } from "zod";
import type { QmpConnection } from "./qmp-connection.ts";

/** QEMU's own word for what a machine does: `running`, `paused`, `inmigrate` … */
const statusSchema = z.object({ status: z.string().max(64), running: z.boolean() });

/** What the vCPUs do. `loading` ends by itself in `running`. */
export type VcpuState = "running" | "paused" | "loading";

const loadTimeoutMs = 30_000;
const loadPollMs = 2;

/** Asks what the vCPUs do. Throws `engine_failed` for a state from which nothing continues. */
export async function queryState(monitor: QmpConnection, waiting: Waiting = {}): Promise<VcpuState> {
  const { status, running } = statusSchema.parse(await monitor.execute("query-status", {}, waiting));
  if (running) return "running";
  if (status === "paused" || status === "save-vm") return "paused";
  if (status === "inmigrate" || status === "prelaunch" || status === "postmigrate") return "loading";
  throw new InstaVmError(
    "engine_failed",
    `QEMU is in the state ${JSON.stringify(status)}; expected running or paused.`,
  );
}

/** Stops the vCPUs and waits until they stand; a state that is still being loaded is awaited first. */
export async function stopVcpus(monitor: QmpConnection, waiting: Waiting = {}): Promise<void> {
  await loaded(monitor, waiting);
  await monitor.execute("stop", {}, waiting);
  const state = await queryState(monitor, waiting);
  if (state !== "paused") throw new InstaVmError("engine_failed", `QEMU is ${state} after a stop; expected paused.`);
}

/** The same as `continueVcpus`, as one line for a connection that is past its greeting. */
export const continueCommand = `${JSON.stringify({ execute: "cont" })}\n`;

/** Lets the vCPUs run; no matter whether they did. */
export async function continueVcpus(monitor: QmpConnection, waiting: Waiting = {}): Promise<void> {
  await monitor.execute("cont", {}, waiting);
}

/** Writes the device state of a paused machine into a file, which is made or emptied. */
export async function saveDeviceState(monitor: QmpConnection, statePath: string, waiting: Waiting = {}): Promise<void> {
  await monitor.execute("xen-save-devices-state", { filename: statePath }, waiting);
}

/** Has a machine that was started to wait load its device state, and waits until its vCPUs run. */
export async function loadDeviceState(monitor: QmpConnection, source: string, waiting: Waiting = {}): Promise<void> {
  await monitor.execute("migrate-incoming", { uri: source }, waiting);
  await loaded(monitor, waiting);
}

async function loaded(monitor: QmpConnection, waiting: Waiting): Promise<void> {
  const bounds = { subject: "the loading of the machine's state", timeoutMs: waiting.timeoutMs ?? loadTimeoutMs };
  using deadline = startDeadline({ ...bounds, signal: waiting.signal });
  while ((await queryState(monitor, { signal: deadline.signal })) === "loading") {
    await sleep(loadPollMs, deadline.signal);
  }
}
