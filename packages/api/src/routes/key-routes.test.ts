import { apiKeySchema, createdKeySchema, currentUserSchema, revokedKeySchema } from "@instavm/contract";
import type { CreatedKey } from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { startWorldApi } from "../testing/world-api.ts";
import type { WorldApi } from "../testing/world-api.ts";

async function makeKey(server: WorldApi, body: unknown = {}): Promise<CreatedKey> {
  const answer = await server.call("POST", "/v1/api-keys/", { body });
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  return createdKeySchema.parse(answer.body);
}

describe("an API key", () => {
  it("is shown once, works, and its use is noted", async () => {
    await using server = await startWorldApi();
    const { key, ...made } = await makeKey(server, { description: "CI" });
    expect(made).toMatchObject({ id: 3, description: "CI", role: "user", last_used_at: null, is_active: true });
    const me = await server.call("GET", "/v1/users/me", { key });
    expect(currentUserSchema.parse(me.body)).toEqual({
      id: 3,
      name: "CI",
      email: null,
      is_verified: true,
      role: "user",
    });
    const read = await server.call("GET", "/v1/api-keys/3");
    expect(apiKeySchema.parse(read.body).last_used_at).not.toBeNull();
    expect(JSON.stringify([read, await server.call("GET", "/v1/api-keys")])).not.toContain(key);
  });

  it("is described anew", async () => {
    await using server = await startWorldApi();
    const { id } = await makeKey(server, { description: "old" });
    const answer = await server.call("PATCH", `/v1/api-keys/${id}`, { body: { description: "new" } });
    expect(answer).toMatchObject({ status: 200, body: { description: "new" } });
    expect((await server.call("GET", `/v1/api-keys/${id}`)).body).toMatchObject({ description: "new" });
    expect((await server.call("PATCH", `/v1/api-keys/${id}`, { body: {} })).body).toMatchObject({ description: "new" });
  });

  it("is revoked at once, although it was used a moment ago", async () => {
    await using server = await startWorldApi();
    const { id, key } = await makeKey(server);
    expect((await server.call("GET", "/v1/vms", { key })).status).toBe(200);
    const answer = await server.call("DELETE", `/v1/api-keys/${id}`);
    expect(revokedKeySchema.parse(answer.body)).toMatchObject({ id, status: "revoked" });
    expect(await server.call("GET", "/v1/vms", { key })).toMatchObject({ status: 401, body: { code: "unauthorized" } });
    const listed = z.array(apiKeySchema);
    const ids = async (path: string): Promise<readonly number[]> =>
      listed.parse((await server.call("GET", path)).body).map((one) => one.id);
    expect(await ids("/v1/api-keys/")).toEqual([1, 2]);
    expect(await ids("/v1/api-keys/?include_revoked=true")).toEqual([1, 2, id]);
    expect((await server.call("DELETE", `/v1/api-keys/${id}`)).status).toBe(200);
  });

  it("of a user sees, names and ends itself only", async () => {
    await using server = await startWorldApi();
    const { userKey: key } = server.api.keys;
    const { id: other } = await makeKey(server);
    expect((await server.call("GET", "/v1/api-keys/", { key })).body).toMatchObject([{ id: 2, is_current: true }]);
    for (const method of ["GET", "PATCH", "DELETE"]) {
      const answers = [1, other, 99].map((id) =>
        server.call(method, `/v1/api-keys/${id}`, method === "PATCH" ? { key, body: { description: "x" } } : { key }),
      );
      for (const answer of await Promise.all(answers)) {
        expect(answer).toMatchObject({ status: 404, body: { code: "key_not_found" } });
      }
    }
    expect(await server.call("POST", "/v1/api-keys/", { key, body: {} })).toMatchObject({
      status: 403,
      body: { code: "forbidden" },
    });
    expect((await server.call("DELETE", "/v1/api-keys/2", { key })).status).toBe(200);
    expect((await server.call("GET", "/v1/users/me", { key })).status).toBe(401);
  });

  it("of the last admin stays", async () => {
    await using server = await startWorldApi();
    expect(await server.call("DELETE", "/v1/api-keys/1")).toMatchObject({ status: 409, body: { code: "conflict" } });
    const { key } = await makeKey(server, { role: "admin" });
    expect((await server.call("DELETE", "/v1/api-keys/1", { key })).status).toBe(200);
    expect((await server.call("GET", "/v1/users/me")).status).toBe(401);
  });

  it.each(["0", "-1", "1.5", "x", "1e99", "9007199254740993"])("cannot have the id %s", async (id) => {
    await using server = await startWorldApi();
    expect(await server.call("GET", `/v1/api-keys/${id}`)).toMatchObject({
      status: 404,
      body: { code: "key_not_found" },
    });
  });

  it.each([{ description: 1 }, { description: "x".repeat(201) }, { role: "root" }])(
    "is not made of %j",
    async (body) => {
      await using server = await startWorldApi();
      expect((await server.call("POST", "/v1/api-keys/", { body })).status).toBe(422);
    },
  );

  it("sees only its own sessions and VMs", async () => {
    await using server = await startWorldApi();
    const { key } = await makeKey(server);
    const own = await server.call("POST", "/v1/vms", { body: {}, key });
    expect(own.status).toBe(200);
    expect((await server.call("GET", "/v1/vms")).body).toEqual([]);
    expect((await server.call("GET", "/v1/sessions/sandboxes")).body).toEqual([]);
    expect((await server.call("GET", "/v1/vms", { key })).body).toEqual([own.body]);
  });
});

describe("SSH keys", () => {
  it("are none, and cannot be added", async () => {
    await using server = await startWorldApi();
    for (const path of ["/v1/ssh-keys", "/v1/ssh-keys/"]) {
      expect(await server.call("GET", path)).toEqual({ status: 200, body: { keys: [] } });
      expect(await server.call("POST", path, { body: { public_key: "ssh-ed25519 AAAA" } })).toMatchObject({
        status: 501,
        body: { code: "not_implemented" },
      });
    }
    expect((await server.call("GET", "/v1/ssh-keys", { key: "wrong" })).status).toBe(401);
  });
});
