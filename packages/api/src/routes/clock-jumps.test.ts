import {
  executionSchema,
  operations,
  sessionResponseSchema,
  sessionStatusResponseSchema,
  sessionUsageSchema,
  vmSchema,
} from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { startWorldApi } from "../testing/world-api.ts";
import type { WorldApi } from "../testing/world-api.ts";

const hourMs = 3_600_000;

/** The answer's JSON in the shape that the contract promises. */
async function read<T extends z.ZodType>(server: WorldApi, path: string, schema: T): Promise<z.output<T>> {
  const { status, body } = await server.call("GET", path);
  expect(status, JSON.stringify(body)).toBe(200);
  return schema.parse(body);
}

async function createVm(server: WorldApi) {
  const { body } = await server.call("POST", "/v1/vms", { body: { vm_lifetime_seconds: 600 } });
  return vmSchema.parse(body);
}

describe("when the wall clock is set", () => {
  it.each([-100 * 24 * hourMs, -hourMs, 60_000])(
    "by %i ms, every answer about a session stays sound",
    async (stepMs) => {
      await using server = await startWorldApi();
      const { session_id: id, vm_id: vmId } = await createVm(server);
      server.world.clock.stepWallClock(stepMs);
      const status = await read(server, `/v1/sessions/status/${id}`, sessionStatusResponseSchema);
      expect(status).toMatchObject({ exists: true, vm_alive: true, vm_status: "active" });
      expect(status.uptime_seconds).toBeGreaterThanOrEqual(0);
      expect(status.expires_in_seconds).toBeGreaterThan(0);
      expect(await read(server, `/v1/sessions/session/${id}`, sessionResponseSchema)).toMatchObject({
        status: "active",
      });
      const usage = await read(server, `/v1/sessions/usage/${id}`, sessionUsageSchema);
      expect(Math.min(usage.wall_seconds, usage.cpu_seconds, usage.memory_gib_seconds)).toBeGreaterThanOrEqual(0);
      const ran = await server.call("POST", "/execute", { body: { session_id: id, command: "print(one)" } });
      expect(operations.execute.answer.parse(ran.body)).toMatchObject({ stdout: "one\n" });
      expect(await read(server, "/v1/vms", z.array(vmSchema))).toMatchObject([{ vm_id: vmId, status: "active" }]);
    },
  );

  it("back, what ran in the background is still read and listed", async () => {
    await using server = await startWorldApi();
    const { session_id: id } = await createVm(server);
    const { body } = await server.call("POST", "/execute_async", { body: { session_id: id, command: "crash()" } });
    server.world.clock.stepWallClock(-hourMs);
    const { task_id: taskId } = executionSchema.parse(body);
    await expect
      .poll(async () => (await read(server, `/v1/executions/${taskId}`, executionSchema)).is_complete)
      .toBe(true);
    const { execution_time: seconds } = await read(server, `/v1/executions/${taskId}`, executionSchema);
    expect(seconds).toBeGreaterThanOrEqual(0);
  });

  it("behind a lifetime's end, the session ends within a minute and says that it expired", async () => {
    await using server = await startWorldApi();
    const { session_id: id } = await createVm(server);
    server.world.clock.stepWallClock(hourMs);
    await server.world.clock.advance(60_000);
    await expect
      .poll(async () => (await read(server, `/v1/sessions/session/${id}`, sessionResponseSchema)).status)
      .toBe("expired");
    expect(server.world.remains()).toMatchObject({ processes: 0, liveSessionRecords: 0, liveVmRecords: 0 });
  });
});
