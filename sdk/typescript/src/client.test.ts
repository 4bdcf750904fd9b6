import { describe, expect, it } from "vitest";
import { InstaVm, InstaVmError } from "./index.ts";

const sessionId = "0b5c6a0e-3f63-4d9b-8c43-0c7a3f5e2a11";
const vmId = "abcdefghij0123456789";

interface Sent {
  readonly url: string;
  readonly init: RequestInit;
}

/** A client whose requests are answered with one status and body. */
function clientOf(status: number, body: unknown, headers: Record<string, string> = {}) {
  const sent: Sent[] = [];
  const answer: typeof fetch = async (url, init = {}) => {
    sent.push({ url: url instanceof Request ? url.url : url.toString(), init });
    return new Response(typeof body === "string" ? body : JSON.stringify(body), { status, headers });
  };
  return { client: new InstaVm({ apiKey: "key", baseUrl: "http://host:1//", fetch: answer }), sent };
}

/** A client whose server never answers. */
function deafClient(): InstaVm {
  const never: typeof fetch = async (_url, init) =>
    new Promise((_, reject) => init?.signal?.addEventListener("abort", () => reject(init.signal?.reason)));
  return new InstaVm({ apiKey: "key", fetch: never });
}

describe("a client", () => {
  it("sends its key and what was asked, and nothing that was not said", async () => {
    const created = {
      id: sessionId,
      session_id: sessionId,
      vm_id: vmId,
      status: "active",
      start: "pool",
      ready_ms: 9.5,
    };
    const times = { created_at: "2026-01-02T03:04:05Z", expires_at: "2026-01-02T03:09:05Z" };
    const { client, sent } = clientOf(200, { ...created, ...times });
    expect(await client.createSession({ memoryMib: 256, env: { A: "b" } })).toEqual({
      sessionId,
      vmId,
      status: "active",
      createdAt: times.created_at,
      expiresAt: times.expires_at,
      start: "pool",
      readyMs: 9.5,
    });
    expect(sent[0]?.url).toBe("http://host:1/v1/sessions/session");
    expect(sent[0]?.init).toMatchObject({
      method: "POST",
      headers: { "x-api-key": "key", "content-type": "application/json" },
      body: '{"memory_mb":256,"env":{"A":"b"}}',
    });
  });

  it("turns an execute's answer into names of its own", async () => {
    const body = {
      session_id: sessionId,
      vm_id: vmId,
      language: "python",
      success: false,
      exit_code: 124,
      timed_out: true,
      truncated: false,
      context_lost: false,
      out_of_memory: false,
      execution_time: 1.5,
      cpu_time: 0.2,
      vm_start: null,
      vm_ready_ms: null,
      stdout: "out",
      stderr: "err",
      output: "out",
      results: [{ type: "text/plain", data: "1", display: 0, is_result: true }],
      error: { name: "E", value: "v", traceback: "t" },
      a_field_of_a_newer_server: 1,
    };
    const { client, sent } = clientOf(200, body);
    const result = await client.execute(sessionId, "while True: pass", { timeoutS: 2 });
    expect(result).toMatchObject({
      stdout: "out",
      exitCode: 124,
      timedOut: true,
      executionTimeS: 1.5,
      vmStart: undefined,
      results: [{ type: "text/plain", data: "1", display: 0, isResult: true }],
      error: { name: "E" },
    });
    expect(sent[0]?.init.body).toBe(`{"session_id":"${sessionId}","command":"while True: pass","timeout":2}`);
  });

  it("cannot be led to another path by an id", async () => {
    const { client, sent } = clientOf(404, {});
    await expect(client.getSession("../../kill?x=1#")).rejects.toThrow(InstaVmError);
    expect(sent[0]?.url).toBe("http://host:1/v1/sessions/session/..%2F..%2Fkill%3Fx%3D1%23");
  });
});

describe("an error", () => {
  const error = {
    detail: "Session x does not exist.",
    code: "session_not_found",
    next: "Create one.",
    request_id: "r1",
  };

  it("carries all that the server said", async () => {
    const { client } = clientOf(404, error);
    await expect(client.kill(sessionId)).rejects.toMatchObject({
      code: "session_not_found",
      message: "Session x does not exist.",
      next: "Create one.",
      requestId: "r1",
      status: 404,
    });
  });

  it("carries when another try makes sense", async () => {
    const { client } = clientOf(503, { ...error, code: "capacity" }, { "retry-after": "70" });
    await expect(client.createSession()).rejects.toMatchObject({ code: "capacity", retryable: true, retryAfterS: 70 });
  });

  it("of a newer server gets the nearest code that is known", async () => {
    await expect(clientOf(404, { ...error, code: "moon_not_found" }).client.health()).rejects.toMatchObject({
      code: "not_found",
    });
    await expect(clientOf(599, { ...error, code: "new" }).client.health()).rejects.toMatchObject({ code: "internal" });
  });

  it.each([
    [502, "<html>bad gateway</html>"],
    [200, "<html>a login page</html>"],
    [200, { status: "ok" }],
    [200, ""],
  ])("says that something else answered: %s %j", async (status, body) => {
    await expect(clientOf(status, body).client.health()).rejects.toMatchObject({ code: "bad_gateway" });
  });

  it("says that the server is not there, and why", async () => {
    const refused: typeof fetch = async () => {
      throw new TypeError("fetch failed", { cause: new Error("connect ECONNREFUSED 127.0.0.1:1") });
    };
    const client = new InstaVm({ apiKey: "key", baseUrl: "http://127.0.0.1:1", fetch: refused });
    await expect(client.health()).rejects.toMatchObject({
      code: "unavailable",
      message: "The server at http://127.0.0.1:1 cannot be reached: connect ECONNREFUSED 127.0.0.1:1.",
    });
  });
});

describe("a wait", () => {
  it("ends at its deadline", async () => {
    await expect(deafClient().health({ timeoutMs: 20 })).rejects.toMatchObject({ code: "timeout" });
  });

  it("ends when its caller gives up, with the caller's reason", async () => {
    const reason = new RangeError("enough");
    const abort = new AbortController();
    const waiting = deafClient().execute(sessionId, "1", { signal: abort.signal });
    abort.abort(reason);
    await expect(waiting).rejects.toBe(reason);
  });
});
