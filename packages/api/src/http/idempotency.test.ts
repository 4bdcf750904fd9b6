import { errorBodySchema, InstaVmError } from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { MemorySessions } from "../testing/memory-sessions.ts";
import { startApi } from "../testing/throwaway-api.ts";
import type { ThrowawayApi } from "../testing/throwaway-api.ts";

const path = "/v1/sessions/session";
const named = (name: string): Record<string, string> => ({ "idempotency-key": name });

async function create(server: ThrowawayApi, body: unknown, headers: Record<string, string>) {
  const answer = await server.post(path, body, headers);
  return { status: answer.status, replayed: answer.headers.get("idempotent-replayed"), text: await answer.text() };
}

async function sessionCount(server: ThrowawayApi): Promise<number> {
  const list: unknown = await (await server.get("/v1/sessions/sandboxes")).json();
  return Array.isArray(list) ? list.length : Number.NaN;
}

describe("a create with an Idempotency-Key", () => {
  it("is answered byte for byte as the first one, and creates nothing more", async () => {
    await using server = await startApi();
    const first = await create(server, { metadata: { a: 1 } }, named("one"));
    expect(first).toMatchObject({ status: 200, replayed: null });
    const second = await create(server, { metadata: { a: 1 } }, named("one"));
    expect(second).toEqual({ ...first, replayed: "true" });
    // A default that is given is the same request.
    expect(await create(server, { metadata: { a: 1 }, memory_mb: 512 }, named("one"))).toEqual(second);
    expect(await sessionCount(server)).toBe(1);
  });

  it("waits for the same call that runs already", async () => {
    const sessions = new SlowSessions();
    await using server = await startApi({ sessions });
    const calls = [1, 2, 3, 4].map(() => create(server, {}, named("two")));
    const answers = await Promise.all(calls);
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
    expect(answers.filter(({ replayed }) => replayed === "true")).toHaveLength(3);
    expect(sessions.created).toBe(1);
  });

  it("is refused with another body, or at another path", async () => {
    await using server = await startApi();
    await create(server, {}, named("three"));
    for (const [where, body] of [
      [path, { memory_mb: 1024 }],
      ["/v1/vms", {}],
    ] as const) {
      const answer = await server.post(where, body, named("three"));
      expect(answer.status).toBe(422);
      expect(errorBodySchema.parse(await answer.json())).toMatchObject({ code: "idempotency_key_reused" });
    }
    expect(await sessionCount(server)).toBe(1);
  });

  it("is another one for another API key", async () => {
    await using server = await startApi();
    const own = await create(server, {}, named("four"));
    const other = await create(server, {}, { ...named("four"), "x-api-key": server.keys.userKey });
    expect(other).toMatchObject({ status: 200, replayed: null });
    expect(other.text).not.toBe(own.text);
  });

  it("is tried anew when the first try failed", async () => {
    const sessions = new SlowSessions();
    sessions.failure = new InstaVmError("capacity", "The host is full.");
    await using server = await startApi({ sessions });
    expect(await create(server, {}, named("five"))).toMatchObject({ status: 503, replayed: null });
    sessions.failure = undefined;
    expect(await create(server, {}, named("five"))).toMatchObject({ status: 200, replayed: null });
  });

  it.each(["", "x".repeat(256), "tab\there", "caf\u00e9"])(
    "is refused when the key cannot be one: %j",
    async (name) => {
      await using server = await startApi();
      const answer = await server.post(path, {}, named(name));
      expect([answer.status, errorBodySchema.parse(await answer.json())]).toMatchObject([
        422,
        { code: "invalid", errors: [{ loc: ["header", "Idempotency-Key"] }] },
      ]);
    },
  );

  it("takes every key that can be one", async () => {
    await using server = await startApi();
    for (const name of ["x".repeat(255), 'a "quoted" name, ~', "0"]) {
      expect(await create(server, {}, named(name))).toMatchObject({ status: 200, replayed: null });
      expect(await create(server, {}, named(name))).toMatchObject({ status: 200, replayed: "true" });
    }
  });
});

describe("a create without one", () => {
  it("creates each time, and no record is read or written", async () => {
    const refuse = async (): Promise<never> => {
      throw new InstaVmError("internal", "no named call");
    };
    await using server = await startApi({ idempotentCalls: { run: refuse } });
    for (let round = 0; round < 2; round += 1) await create(server, {}, {});
    expect(await sessionCount(server)).toBe(2);
  });
});

/** Sessions whose create takes a moment, and may fail. */
class SlowSessions extends MemorySessions {
  created = 0;
  failure: InstaVmError | undefined;

  override async create(...args: Parameters<MemorySessions["create"]>): ReturnType<MemorySessions["create"]> {
    await new Promise((wake) => setTimeout(wake, 50));
    if (this.failure !== undefined) throw this.failure;
    this.created += 1;
    return super.create(...args);
  }
}
