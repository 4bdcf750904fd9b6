import { createHash } from "node:crypto";
import { errorTable, InstaVmError, operations } from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { hostStatus, startApi } from "../testing/throwaway-api.ts";

describe("GET /health", () => {
  it("needs no key", async () => {
    await using server = await startApi();
    const answer = await fetch(`${server.url}/health`);
    expect(await answer.json()).toEqual({
      status: "ok",
      version: "0.0.0-test",
      engine: "fake",
      engine_version: "7.2.22",
      accelerator: "tcg",
      accelerator_reason: "there is no /dev/kvm",
    });
  });

  it("says why the host cannot run VMs", async () => {
    const status = (): never => {
      throw new InstaVmError("host_setup", "QEMU is not installed.");
    };
    await using server = await startApi({ host: { version: "1", status } });
    const answer = await fetch(`${server.url}/health`);
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({ code: "host_setup", detail: "QEMU is not installed." });
  });
});

describe("GET /openapi.json", () => {
  it("describes the paths that work", async () => {
    await using server = await startApi();
    const answer = await fetch(`${server.url}/openapi.json/`);
    expect(await answer.json()).toMatchObject({
      openapi: "3.1.0",
      paths: { "/execute": { post: {} }, "/health": { get: {} } },
    });
  });
});

describe("GET /metrics", () => {
  it("counts for an admin what was answered and what runs", async () => {
    await using server = await startApi();
    await server.get("/v1/sessions/sandboxes");
    await server.get("/v1/sessions/sandboxes?limit=0");
    const text = await (await server.get("/metrics")).text();
    expect(text).toContain(`instavm_pool_ready ${hostStatus.pool.ready}\n`);
    expect(text).toContain('instavm_vm_starts_total{kind="pool"} 5\n');
    expect(text).toContain('instavm_http_requests_total{operation="GET /v1/sessions/sandboxes",status="200"} 1\n');
    expect(text).toContain('instavm_http_requests_total{operation="GET /v1/sessions/sandboxes",status="422"} 1\n');
    for (const line of text.trim().split("\n")) expect(line).toMatch(/^(# (HELP|TYPE) \w+ .+|\w+(\{.*\})? [\d.e+-]+)$/);
  });

  it("is refused to others", async () => {
    await using server = await startApi();
    expect((await fetch(`${server.url}/metrics`)).status).toBe(401);
    expect((await server.get("/metrics", { headers: { "x-api-key": server.keys.userKey } })).status).toBe(403);
  });
});

describe("GET /docs", () => {
  it("is a page for people about every operation and error, for everybody", async () => {
    await using server = await startApi();
    const answer = await fetch(`${server.url}/docs`);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("content-type")).toBe("text/html; charset=utf-8");
    const page = await answer.text();
    for (const [name, { method, path }] of Object.entries(operations)) {
      const start = page.indexOf(`<section id="${name}">`);
      const heading = `<h3><span class="method">${method}</span> ${path}</h3>`;
      expect(page.slice(start, start + 200)).toContain(heading);
    }
    for (const code of Object.keys(errorTable)) expect(page).toContain(`id="error-${code}"`);
    const targets = [...page.matchAll(/href="#([^"]+)"/g)].map(([, target]) => target);
    for (const target of targets) expect(page).toContain(`id="${target}"`);
  });

  it("loads nothing from elsewhere and runs nothing", async () => {
    await using server = await startApi();
    const answer = await fetch(`${server.url}/docs/`);
    const page = await answer.text();
    const [, style = ""] = /<style>([^]*)<\/style>/.exec(page) ?? [];
    const allowed = createHash("sha256").update(style).digest("base64");
    const policy = answer.headers.get("content-security-policy");
    expect(policy).toContain(`default-src 'none'; style-src 'sha256-${allowed}';`);
    expect(page).not.toMatch(/<script|<img|<link|@import|url\(|src=|https:|\son\w+=/i);
  });
});
