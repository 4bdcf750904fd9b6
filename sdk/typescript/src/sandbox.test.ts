import { expect, test } from "vitest";
import { InstaVm, Sandbox, isInstaVmError, isNotFound, isRetryable } from "./index.ts";
import { ScriptedServer, sendError, sendJson } from "./testing/scripted-server.ts";
import type { Answerer } from "./testing/scripted-server.ts";
import { executeAnswer, sessionAnswer as session, sessionId, vmAnswer, vmId } from "./testing/sample-answers.ts";

const executed = { ...executeAnswer, language: "bash" };

const answers: Answerer = ({ path }, response) => {
  if (path === "/v1/sessions/session") sendJson(response, { ...session, start: "pool", ready_ms: 9 });
  else if (path === "/kill")
    sendJson(response, { message: "Killed.", session_id: sessionId, vm_id: vmId, status: "killed" });
  else sendJson(response, executed);
};

test("a sandbox lives from its creation to the end of its block", async () => {
  await using server = await ScriptedServer.start(answers);
  {
    await using sandbox = await Sandbox.create({ baseUrl: server.baseUrl, apiKey: "key", memoryMib: 256 });
    expect(await sandbox.run("print(42)")).toMatchObject({ stdout: "42\n", success: true });
    expect(await sandbox.commands.run("echo 42")).toMatchObject({ exitCode: 0 });
  }
  expect(server.received.map(({ path }) => path)).toEqual(["/v1/sessions/session", "/execute", "/execute", "/kill"]);
  expect(new TextDecoder().decode(server.received[2]?.body)).toContain('"language":"bash"');
});

test("a sandbox that has ended by itself is closed without an error", async () => {
  await using server = await ScriptedServer.start((received, response) => {
    if (received.path === "/kill") sendError(response, 404, "session_not_found");
    else answers(received, response);
  });
  const sandbox = await Sandbox.create({ baseUrl: server.baseUrl, apiKey: "key" });
  await expect(sandbox.close()).resolves.toBeUndefined();
});

test("a fork is as many sandboxes, each with a session of its own", async () => {
  const ids = [1, 2, 3].map((number) => `00000000-0000-4000-8000-00000000000${String(number)}`);
  await using server = await ScriptedServer.start((received, response) => {
    if (received.path.startsWith("/v1/sessions/session/")) sendJson(response, session);
    else if (received.path === `/v1/vms/${vmId}/fork`)
      sendJson(response, { vms: ids.map((id) => ({ ...vmAnswer, session_id: id, forked_from: vmId })) });
    else answers(received, response);
  });
  const sandbox = await Sandbox.connect(sessionId, { baseUrl: server.baseUrl, apiKey: "key" });
  const forks = await sandbox.fork(3, { env: { A: "1" }, metadata: { n: 1 }, lifetimeS: 60, name: "copy" });
  expect(forks.map((fork) => fork.sessionId)).toEqual(ids);
  const asked = server.received.find(({ path }) => path.endsWith("/fork"));
  expect(JSON.parse(new TextDecoder().decode(asked?.body))).toEqual({
    count: 3,
    env: { A: "1" },
    metadata: { n: 1 },
    vm_lifetime_seconds: 60,
    name: "copy",
  });
  expect(asked?.headers["idempotency-key"]).toMatch(/./);
});

test("errors are told apart by their code", async () => {
  await using server = await ScriptedServer.start((_, response) => {
    sendError(response, 404, "session_not_found");
  });
  const error: unknown = await Sandbox.connect(sessionId, { baseUrl: server.baseUrl, apiKey: "key" }).catch(
    (thrown: unknown) => thrown,
  );
  expect(isInstaVmError(error)).toBe(true);
  expect(isInstaVmError(error, "session_not_found", "vm_not_found")).toBe(true);
  expect(isInstaVmError(error, "capacity")).toBe(false);
  expect([isNotFound(error), isRetryable(error), isNotFound(new TypeError("x"))]).toEqual([true, false, false]);
});

test("code in the background is asked for until it has ended", async () => {
  const running = {
    task_id: "8a6e0804-2bd0-4672-b79d-d97027f9071a",
    execution_id: "8a6e0804-2bd0-4672-b79d-d97027f9071a",
    session_id: sessionId,
    vm_id: vmId,
    status: "running",
    is_complete: false,
    language: null,
    exit_code: null,
    timed_out: false,
    truncated: false,
    execution_time: null,
    cpu_time: null,
    created_at: "2026-01-02T03:04:05Z",
    ended_at: null,
    detail: null,
    serialized_stdout: "",
    serialized_stderr: "",
  };
  const ended = { ...running, status: "completed", is_complete: true, exit_code: 3, serialized_stdout: "out" };
  await using server = await ScriptedServer.start((_, response) => {
    sendJson(response, server.received.length < 4 ? running : ended);
  });
  const { executions } = server.client;
  const { executionId } = await executions.start(sessionId, "sleep 1; exit 3", { language: "bash" });
  expect(await executions.wait(executionId, { pollIntervalMs: 5 })).toMatchObject({ exitCode: 3, stdout: "out" });
  server.received.splice(0);
  await expect(executions.wait(executionId, { timeoutMs: 1, pollIntervalMs: 5 })).rejects.toMatchObject({
    code: "timeout",
  });
});

test("any operation can be done by its name, in the server's own words", async () => {
  await using server = await ScriptedServer.start((_, response) => {
    sendJson(response, { id: 1, name: "admin", email: null, is_verified: true, role: "admin" });
  });
  expect(await server.client.call("getCurrentUser")).toMatchObject({ is_verified: true });
  expect(await server.client.currentUser()).toEqual({ id: 1, name: "admin", role: "admin" });
});

test("address and key come from the environment when nothing is said", async () => {
  await using server = await ScriptedServer.start((_, response) => {
    sendJson(response, []);
  });
  const before = { ...process.env };
  try {
    process.env["INSTAVM_BASE_URL"] = `${server.baseUrl}/`;
    process.env["INSTAVM_API_KEY"] = "from-env";
    expect(await new InstaVm().vms.list()).toEqual([]);
  } finally {
    process.env = before;
  }
});
