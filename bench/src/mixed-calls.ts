import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { BenchServer } from "./bench-server.ts";
import { bytesOf } from "./http-client.ts";
import { createToFirstResult, execute, kill } from "./sandbox.ts";

/** A session that calls are made to, with its VM. */
export interface LoadedSession {
  readonly server: BenchServer;
  readonly sessionId: string;
  readonly vmId: string;
}

/** One kind of call, or a few that belong together; rejects when the answer is not the right one. */
export interface CallKind {
  readonly name: string;
  run(session: LoadedSession): Promise<void>;
}

const json = { "content-type": "application/json" };
const content = "0123456789abcdef".repeat(4096);

/** What clients do, in turn; a create is rarer than the rest. */
export const callKinds: readonly CallKind[] = [
  {
    name: "execute Python",
    run: async ({ server, sessionId }) => {
      await execute(server, { sessionId, language: "python", code: "print(6*7)", prints: "42\n" });
    },
  },
  {
    name: "write a file of 64 KiB",
    run: async ({ server, vmId }) => {
      await server.client.open({ method: "PUT", path: fileOf(vmId, "written"), body: content }).then(bytesOf);
    },
  },
  {
    name: "execute Bash",
    run: async ({ server, sessionId }) => {
      await execute(server, { sessionId, language: "bash", code: "echo 42", prints: "42\n" });
    },
  },
  { name: "execute with events", run: runStream },
  { name: "write and read a file of 64 KiB", run: roundTrip },
  {
    name: "list sandboxes",
    run: async ({ server, sessionId }) => {
      expectIn(JSON.stringify(await server.client.call("GET", "/v1/sessions/sandboxes")), sessionId);
    },
  },
  { name: "upload a form", run: uploadForm },
  { name: "code in the background, polled", run: runInBackground },
  {
    name: "read a session's status",
    run: async ({ server, sessionId }) => {
      expectIn(JSON.stringify(await server.client.call("GET", `/v1/sessions/status/${sessionId}`)), '"vm_alive":true');
    },
  },
  {
    name: "list a directory",
    run: async ({ server, vmId }) => {
      expectIn(JSON.stringify(await server.client.call("GET", `/v1/vms/${vmId}/files/list?path=/etc`)), "passwd");
    },
  },
  {
    name: "print 1 MiB",
    run: async ({ server, sessionId }) => {
      const code = "print('x' * 1048576)";
      await execute(server, { sessionId, language: "python", code, prints: `${"x".repeat(1_048_576)}\n` });
    },
  },
  {
    name: "read a session's usage",
    run: async ({ server, sessionId }) => {
      expectIn(JSON.stringify(await server.client.call("GET", `/v1/sessions/usage/${sessionId}`)), "executions");
    },
  },
  {
    name: "create → first Python result, then kill",
    run: async ({ server }) => {
      const { sessionId } = await createToFirstResult(server, 6);
      await kill(server, sessionId);
    },
  },
];

async function runStream({ server, sessionId }: LoadedSession): Promise<void> {
  const body = JSON.stringify({ session_id: sessionId, language: "python", command: "for n in range(5): print(n)" });
  const headers = { ...json, accept: "text/event-stream" };
  const events = await bytesOf(await server.client.open({ method: "POST", path: "/execute", headers, body }));
  expectIn(events.toString(), 'event: exit\ndata: {"session_id"');
}

async function roundTrip({ server, vmId }: LoadedSession): Promise<void> {
  const path = fileOf(vmId, randomUUID());
  await bytesOf(await server.client.open({ method: "PUT", path, body: content }));
  const back = await bytesOf(await server.client.open({ method: "GET", path }));
  if (back.toString() !== content) throw new Error(`${back.length} bytes that differ came back`);
  await bytesOf(await server.client.open({ method: "DELETE", path }));
}

async function uploadForm({ server, sessionId }: LoadedSession): Promise<void> {
  const field = (name: string, value: string): string =>
    `--x\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
  const fields = field("session_id", sessionId) + field("remote_path", "/srv/load/uploaded");
  const file = `--x\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n${content}\r\n--x--\r\n`;
  const headers = { "content-type": "multipart/form-data; boundary=x" };
  const body = fields + file;
  const answer = await bytesOf(await server.client.open({ method: "POST", path: "/upload", headers, body }));
  expectIn(answer.toString(), `"size":${String(content.length)}`);
}

async function runInBackground({ server, sessionId }: LoadedSession): Promise<void> {
  const body = { session_id: sessionId, language: "python", command: "print(6*7)" };
  const { task_id: taskId } = await server.client.call("POST", "/execute_async", body);
  for (let tries = 0; tries < 600; tries += 1) {
    const task = await server.client.call("GET", `/v1/executions/${String(taskId)}`);
    if (task["is_complete"] === true) return expectIn(String(task["serialized_stdout"]), "42\n");
    await sleep(100);
  }
  throw new Error("code in the background did not end within 60 s");
}

function fileOf(vmId: string, name: string): string {
  return `/v1/vms/${vmId}/files?path=/srv/load/${name}`;
}

function expectIn(text: string, wanted: string): void {
  if (!text.includes(wanted)) throw new Error(`expected ${wanted} in ${text.slice(0, 500)}`);
}
