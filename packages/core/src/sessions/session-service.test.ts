import { FakeWorld, sampleKeyId } from "@instavm/testkit";
import { expect, test } from "vitest";

const caller = { keyId: sampleKeyId(1), role: "user" } as const;

test("runs code", async () => {
  await using world = new FakeWorld();
  const { platform } = await world.startedServer();
  const request = { shape: { vcpuCount: 2, memoryMib: 512 } as const, lifetimeS: 300, env: {}, metadata: {} };
  const view = await platform.sessions.create(caller, request);
  const result = await platform.sessions.execute(caller, {
    sessionId: view.session.sessionId,
    code: "print(6*7)",
    language: undefined,
    limitMs: 1000,
  });
  expect(Buffer.from(result.stdout).toString()).toBe("42\n");
});
