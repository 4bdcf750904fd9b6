import { createSessionResponseSchema, errorBodySchema, killResponseSchema, sandboxSchema } from "@instavm/contract";
import { sessionResponseSchema, sessionStatusResponseSchema } from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { startApi } from "../testing/throwaway-api.ts";
import type { ThrowawayApi } from "../testing/throwaway-api.ts";

const path = "/v1/sessions/session";
const neverMade = "0b5c6a0e-3f63-4d9b-8c43-0c7a3f5e2a11";

async function create(server: ThrowawayApi, body: unknown = {}) {
  const answer = await server.post(path, body);
  expect(answer.status).toBe(200);
  return createSessionResponseSchema.parse(await answer.json());
}

describe("POST /v1/sessions/session", () => {
  it("answers with a session whose VM is ready", async () => {
    await using server = await startApi();
    const session = await create(server, { metadata: { team: "a" }, env: { A: "b" } });
    expect(session).toMatchObject({ id: session.session_id, status: "active", start: "pool", ready_ms: 12.5 });
    expect(session.expires_at > session.created_at).toBe(true);
  });

  it("takes an empty body for the defaults", async () => {
    await using server = await startApi();
    const answer = await server.get(path, { method: "POST" });
    expect(answer.status).toBe(200);
    expect((await server.post(path, null)).status).toBe(422);
  });

  it("takes the key in the body, but no wrong one, and none at all is refused", async () => {
    await using server = await startApi();
    const send = async (body: unknown): Promise<number> => {
      const init = { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } };
      return (await fetch(server.url + path, init)).status;
    };
    expect(await send({ api_key: server.keys.userKey })).toBe(200);
    expect(await send({ api_key: "sk_wrong" })).toBe(401);
    expect(await send({ api_key: 7 })).toBe(401);
    expect(await send({})).toBe(401);
  });

  it("refuses too long a lifetime with 403 and the limit in the sentence clients look for", async () => {
    await using server = await startApi();
    const answer = await server.post(path, { vm_lifetime_seconds: 86_401 });
    expect(answer.status).toBe(403);
    const body = errorBodySchema.parse(await answer.json());
    expect(body.code).toBe("limit_exceeded");
    expect(body.detail).toContain("VM lifetime cannot exceed 86400s");
  });

  it("names the wrong field and what was seen", async () => {
    await using server = await startApi();
    const answer = await server.post(path, { vcpu_count: 3, memory_mb: 64 });
    expect(answer.status).toBe(422);
    const body = errorBodySchema.parse(await answer.json());
    expect(body.errors?.map(({ loc }) => loc)).toEqual([
      ["body", "memory_mb"],
      ["body", "vcpu_count"],
    ]);
    expect(body.detail).toContain("memory_mb");
    expect(body.detail).toContain("got 64");
  });
});

describe("an existing session", () => {
  it("is read, and its status", async () => {
    await using server = await startApi();
    const { session_id: id } = await create(server, { metadata: { team: "a" }, memory_mb: 256 });
    const session = sessionResponseSchema.parse(await (await server.get(`${path}/${id}`)).json());
    expect(session).toMatchObject({ id, memory_mb: 256, vcpu_count: 2, metadata: { team: "a" }, vm_alive: true });
    const status = sessionStatusResponseSchema.parse(await (await server.get(`/v1/sessions/status/${id}`)).json());
    expect(status).toMatchObject({ exists: true, vm_assigned: true, vm_alive: true, vm_status: "active" });
    expect(status.expires_in_seconds).toBeGreaterThan(290);
  });

  it.each(["DELETE", "POST"] as const)("is ended by %s, and then says so", async (method) => {
    await using server = await startApi();
    const { session_id: id } = await create(server);
    const answer =
      method === "DELETE"
        ? await server.get(`${path}/${id}`, { method })
        : await server.post("/kill", { session_id: id });
    expect(answer.status).toBe(200);
    expect(killResponseSchema.parse(await answer.json())).toMatchObject({ session_id: id, status: "killed" });
    expect(await (await server.get(`${path}/${id}`)).json()).toMatchObject({ status: "killed" });
    expect(await (await server.get(`/v1/sessions/status/${id}`)).json()).toMatchObject({
      vm_alive: false,
      vm_status: "killed",
      expires_in_seconds: 0,
    });
  });

  it("does not exist for another key", async () => {
    await using server = await startApi();
    const { session_id: id } = await create(server);
    const other = { "x-api-key": server.keys.userKey };
    const answers = await Promise.all([
      server.get(`${path}/${id}`, { headers: other }),
      server.get(`${path}/${id}`, { method: "DELETE", headers: other }),
      server.post("/kill", { session_id: id }, other),
      server.post("/execute", { session_id: id, command: "1" }, other),
    ]);
    expect(answers.map(({ status }) => status)).toEqual([404, 404, 404, 404]);
    expect(await (await server.get(`/v1/sessions/status/${id}`, { headers: other })).json()).toMatchObject({
      exists: false,
    });
    expect(await (await server.get("/v1/sessions/sandboxes", { headers: other })).json()).toEqual([]);
  });
});

describe("a session that there never was", () => {
  it.each([neverMade, "nope", "%2e%2e%2fetc"])("is a 404 as %s", async (id) => {
    await using server = await startApi();
    const answer = await server.get(`${path}/${id}`);
    expect(answer.status).toBe(404);
    expect(await answer.json()).toMatchObject({ code: "session_not_found" });
  });

  it("has a status that says so", async () => {
    await using server = await startApi();
    const answer = await server.get(`/v1/sessions/status/${neverMade}`);
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({ exists: false, vm_assigned: false, vm_id: null });
  });
});

describe("GET /v1/sessions/sandboxes", () => {
  it("is a bare list of what lives, newest first, filtered by metadata", async () => {
    await using server = await startApi();
    const made = [];
    for (const team of ["a", "b", "a", "a"]) made.push((await create(server, { metadata: { team, n: 1 } })).session_id);
    await server.post("/kill", { session_id: made[3] });
    const list = async (query: string): Promise<readonly string[]> => {
      const answer = await server.get(`/v1/sessions/sandboxes${query}`);
      return z
        .array(sandboxSchema)
        .parse(await answer.json())
        .map(({ session_id: id }) => id);
    };
    expect(await list("")).toEqual([made[2], made[1], made[0]]);
    expect(await list(`?metadata=${encodeURIComponent('{"team":"a"}')}`)).toEqual([made[2], made[0]]);
    expect(await list("?limit=1")).toEqual([made[2]]);
  });

  it.each(["?metadata=nonsense", "?metadata=[]", "?limit=0", "?limit=1001", "?limit=x"])(
    "refuses %s",
    async (query) => {
      await using server = await startApi();
      expect((await server.get(`/v1/sessions/sandboxes${query}`)).status).toBe(422);
    },
  );
});
