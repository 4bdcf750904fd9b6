import { setTimeout as sleep } from "node:timers/promises";
import { defaultShape } from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { adminKeyId } from "./testing/memory-sessions.ts";
import { startApi } from "./testing/throwaway-api.ts";

const sessionRequest = { shape: defaultShape, lifetimeS: 300, env: {}, metadata: {} };

describe("close", () => {
  it("lets a running call end and takes no new connection", async () => {
    await using server = await startApi();
    const release = Promise.withResolvers<void>();
    const started = Promise.withResolvers<void>();
    server.sessions.behaviour = async () => {
      started.resolve();
      await release.promise;
      return {};
    };
    const { session } = await server.sessions.create({ keyId: adminKeyId, role: "admin" }, sessionRequest);
    const running = server.post("/execute", { session_id: session.sessionId, command: "1" });
    await started.promise;
    const closing = server.api.close(20_000);
    await sleep(50);
    await expect(fetch(`${server.url}/health`)).rejects.toThrow("fetch failed");
    release.resolve();
    expect((await running).status).toBe(200);
    await closing;
  });

  it("stops a call that does not end, and tells its client", async () => {
    await using server = await startApi();
    const started = Promise.withResolvers<void>();
    server.sessions.behaviour = async (_request, signal) => {
      started.resolve();
      return new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
    };
    const { session } = await server.sessions.create({ keyId: adminKeyId, role: "admin" }, sessionRequest);
    const running = server.post("/execute", { session_id: session.sessionId, command: "1" });
    await started.promise;
    await server.api.close(100);
    const answer = await running;
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({ code: "unavailable", detail: "The server is stopping." });
  });

  it("ends although a client holds its connection open", async () => {
    await using server = await startApi();
    await (await fetch(`${server.url}/health`)).text();
    await server.api.close(100);
    await expect(fetch(`${server.url}/health`)).rejects.toThrow("fetch failed");
  });
});

describe("listen", () => {
  it("says that the port is taken, and what to do", async () => {
    await using first = await startApi();
    await expect(startApi({}, first.port)).rejects.toMatchObject({
      code: "conflict",
      message: `The server cannot listen on 127.0.0.1:${first.port}: the port is taken.`,
      next: expect.stringContaining("--listen"),
    });
  });
});
