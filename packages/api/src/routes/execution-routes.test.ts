import { executionSchema, executionSummarySchema } from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { text } from "../testing/memory-sessions.ts";
import { startApi } from "../testing/throwaway-api.ts";
import type { ThrowawayApi } from "../testing/throwaway-api.ts";

const sessionId = "0b5c6a0e-3f63-4d9b-8c43-0c7a3f5e2a11";

async function start(server: ThrowawayApi) {
  const answer = await server.post("/execute_async", { command: "1", session_id: sessionId, language: "python" });
  expect(answer.status).toBe(200);
  return executionSchema.parse(await answer.json());
}

async function read(server: ThrowawayApi, taskId: string) {
  return executionSchema.parse(await (await server.get(`/v1/executions/${taskId}`)).json());
}

describe("code in the background", () => {
  it("has a task id at once, and says that it runs", async () => {
    await using server = await startApi();
    const started = await start(server);
    expect(started).toMatchObject({
      status: "running",
      is_complete: false,
      exit_code: null,
      execution_time: null,
      created_at: "2026-01-02T00:00:00Z",
      session_id: sessionId,
    });
    expect(await read(server, started.task_id)).toEqual(started);
  });

  it("shows what it printed and how it ended", async () => {
    await using server = await startApi();
    const { task_id: taskId } = await start(server);
    change(server, { status: "completed", exitCode: 3, wallMs: 1500, cpuMs: 20, endedAtMs: Date.UTC(2026, 0, 2, 1) });
    expect(await read(server, taskId)).toMatchObject({
      status: "completed",
      is_complete: true,
      exit_code: 3,
      execution_time: 1.5,
      cpu_time: 0.02,
      ended_at: "2026-01-02T01:00:00Z",
      serialized_stdout: "out",
      serialized_stderr: "err",
      detail: null,
    });
  });

  it("that is lost is complete, and says why where every client looks", async () => {
    await using server = await startApi();
    const { task_id: taskId } = await start(server);
    change(server, { status: "lost", reason: "the server stopped" });
    expect(await read(server, taskId)).toMatchObject({
      status: "lost",
      is_complete: true,
      exit_code: null,
      detail: "the server stopped",
      serialized_stderr: "err\nlost: the server stopped\n",
    });
  });

  it("does not exist for another key, nor under another id", async () => {
    await using server = await startApi();
    const { task_id: taskId } = await start(server);
    const other = { headers: { "x-api-key": server.keys.userKey } };
    const answers = [
      await server.get(`/v1/executions/${taskId}`, other),
      await server.get(`/v1/executions/${sessionId}`),
      await server.get("/v1/executions/nonsense"),
    ];
    for (const answer of answers) {
      expect(answer.status).toBe(404);
      expect(await answer.json()).toMatchObject({ code: "execution_not_found" });
    }
    expect(await (await server.get("/v1/executions", other)).json()).toEqual([]);
  });

  it("is listed without its output, by session when asked", async () => {
    await using server = await startApi();
    const { serialized_stdout: _, serialized_stderr: __, ...summary } = await start(server);
    const list = async (query: string) =>
      z.array(executionSummarySchema.strict()).parse(await (await server.get(`/v1/executions${query}`)).json());
    expect(await list("")).toEqual([summary]);
    expect(await list(`?session_id=${sessionId}`)).toHaveLength(1);
    expect(await list("?session_id=5b0f9b5c-3c07-4d53-9a0c-0d3d1e6f7a21")).toEqual([]);
    expect((await server.get("/v1/executions?limit=0")).status).toBe(422);
  });
});

/** Moves on the only execution, and gives it some output. */
function change(server: ThrowawayApi, to: Partial<Parameters<typeof server.executions.views.set>[1]>): void {
  for (const [id, view] of server.executions.views) {
    server.executions.views.set(id, { ...view, stdout: text("out"), stderr: text("err"), ...to });
  }
}
