import { describe, expect, it } from "vitest";
import { startWorldApi } from "../testing/world-api.ts";

const vm = "/v1/vms/zzzzzzzzzzzzzzzzzzzz";
const session = "5b0f9b5c-3c07-4d53-9a0c-0d3d1e6f7a21";

const calls: readonly (readonly [string, string])[] = [
  ["GET", `/v1/sessions/app-url/${session}?port=80`],
  ["POST", `${vm}/suspend`],
  ["POST", `${vm}/resume?wait=true`],
  ["POST", `${vm}/snapshot?wait=true`],
  ["POST", `${vm}/stage-env`],
  ["GET", `${vm}/volumes`],
  ["DELETE", `${vm}/volumes/v?mount_path=/data&wait=true`],
  ["GET", "/v1/snapshots?type=user"],
  ["POST", "/v1/snapshots"],
  ["POST", "/v1/templates/slug/runs"],
  ["POST", `/v1/egress/session/${session}`],
  ["PATCH", "/v1/shares/s"],
  ["GET", "/v1/custom-domains/7/health"],
  ["POST", `/v1/sessions/${session}/pty/sessions`],
  ["POST", "/v1/ssh-keys"],
  ["DELETE", "/v1/ssh-keys/7"],
  ["POST", "/v1/volumes/v/files/upload"],
  ["POST", "/v1/vaults/v/services:from_template"],
  ["DELETE", "/v1/browser/sessions/b"],
  ["POST", "/v1/browser/interactions/navigate"],
  ["PUT", `/v1/computeruse/${session}/mouse/click`],
  ["GET", "/v1/recordings/r/download"],
  ["POST", `/v1/sessions/${session}/tape/start`],
  ["GET", "/v1/webhooks/deliveries"],
  ["GET", "/v1/audit/events/e"],
  ["GET", "/v1/users/me/usage-breakdown?days=30"],
  ["GET", "/v1/credits/usage/trends"],
];

describe("a call that this release cannot serve", () => {
  it.each(calls)("says so: %s %s", async (method, path) => {
    await using server = await startWorldApi();
    for (const form of [path, path.replace(/(\?|$)/, "/$1")]) {
      expect(await server.call(method, form)).toMatchObject({
        status: 501,
        body: { code: "not_implemented", detail: expect.stringMatching(/^This release has no /) },
      });
    }
    expect(await server.call(method, path, { key: "wrong" })).toMatchObject({ status: 401 });
  });

  it.each([
    ["GET", "/v1/templates"],
    ["GET", "/v1/templates/slug"],
    ["POST", "/api/cli-auth/start"],
    ["GET", `/v1/sessions/${session}/pty/p/connect?api_key=x`],
  ])("needs no key where none is sent: %s %s", async (method, path) => {
    await using server = await startWorldApi();
    expect((await fetch(server.api.url + path, { method })).status).toBe(501);
  });

  it("says so whatever its body is", async () => {
    await using server = await startWorldApi();
    const form = new FormData();
    form.append("file", new Blob(["x".repeat(3_000_000)]), "big.bin");
    const headers = { "x-api-key": server.api.keys.adminKey };
    const url = `${server.api.url}/v1/volumes/v/files/upload`;
    expect((await fetch(url, { method: "POST", headers, body: form })).status).toBe(501);
  });

  it("is no invitation to guess: what is in no contract stays a 404", async () => {
    await using server = await startWorldApi();
    for (const path of ["/v1/vaults/v/nothing", "/v1/snapshots/a/b", "/v1/credits"]) {
      expect((await server.call("GET", path)).status).toBe(404);
    }
  });
});
