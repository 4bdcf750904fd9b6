import { InstaVmError, type SessionId, type VmId } from "@instavm/contract";
import { failureOf, FakeClient, FakeWorld } from "@instavm/testkit";
import { describe, expect, test } from "vitest";
import type { Contexts } from "./contexts.ts";

interface Opened {
  readonly client: FakeClient;
  readonly stranger: FakeClient;
  readonly sessionId: SessionId;
  readonly vm: { readonly vmId: VmId };
  readonly contexts: Contexts;
}

async function openContexts(world: FakeWorld): Promise<Opened> {
  const { platform } = await world.startedServer();
  const client = new FakeClient(platform);
  const sessionId = await client.open();
  const { vm } = await client.get(sessionId);
  if (vm === undefined) throw new InstaVmError("internal", "the session has no VM");
  return { client, stranger: new FakeClient(platform, 2), sessionId, vm, contexts: platform.contexts };
}

describe("contexts of a VM", () => {
  test("have each its own state, directory and environment", async () => {
    await using world = new FakeWorld();
    const { client, sessionId, vm, contexts } = await openContexts(world);
    const one = await contexts.create(client.caller, { vm, language: "python", cwd: "/one", env: { NAME: "first" } });
    const other = await contexts.create(client.caller, { vm, language: "python" });
    const run = (contextId: string, code: string) => client.print(sessionId, code, { contextId });
    await run(one.contextId, "x = 1");
    await run(other.contextId, "x = 2");
    const show = "print(x)\nprint(cwd())\nprint(env(NAME))";
    expect(await run(one.contextId, show)).toBe("1\n/one\nfirst\n");
    expect(await run(other.contextId, show)).toBe("2\n/root\n\n");
    expect(await client.print(sessionId, "print(x)")).toBe("x\n");
    const listed = await contexts.list(client.caller, vm);
    expect(listed.map(({ contextId }) => contextId)).toEqual([one.contextId, other.contextId, "python"]);
    expect(await contexts.get(client.caller, { vm, contextId: one.contextId })).toEqual(one);
  });

  test("are interrupted with their state, restarted without it, and deleted with the cell that runs", async () => {
    await using world = new FakeWorld();
    const { client, sessionId, vm, contexts } = await openContexts(world);
    const { contextId } = await contexts.create(client.caller, { vm, language: "python" });
    const place = { vm, contextId };
    const endless = async () => {
      const running = client.execute(sessionId, "x = 1\nforever()", { contextId, limitMs: 60_000 });
      await world.clock.advance(1);
      expect((await contexts.get(client.caller, place)).isBusy).toBe(true);
      return running;
    };
    const first = endless();
    await world.clock.advance(2);
    await contexts.interrupt(client.caller, place);
    expect(await first).toMatchObject({ exitCode: 1, error: { name: "KeyboardInterrupt" }, contextLost: false });
    expect(await client.print(sessionId, "print(x)", { contextId })).toBe("1\n");
    await contexts.restart(client.caller, place);
    expect(await client.print(sessionId, "print(x)", { contextId })).toBe("x\n");
    const last = failureOf(endless());
    await world.clock.advance(2);
    await contexts.delete(client.caller, place);
    expect(await last).toMatchObject({ code: "context_not_found" });
    expect(await failureOf(contexts.get(client.caller, place))).toMatchObject({ code: "context_not_found" });
    expect(await failureOf(client.print(sessionId, "x", { contextId }))).toMatchObject({ code: "context_not_found" });
  });

  test("are 32 at most", async () => {
    await using world = new FakeWorld();
    const { client, vm, contexts } = await openContexts(world);
    for (let count = 0; count < 32; count += 1) await contexts.create(client.caller, { vm, language: "bash" });
    expect(await failureOf(contexts.create(client.caller, { vm, language: "bash" }))).toMatchObject({
      code: "limit_exceeded",
    });
  });

  test("of another key are not found", async () => {
    await using world = new FakeWorld();
    const { stranger, vm, contexts } = await openContexts(world);
    const place = { vm, contextId: "python" };
    const asked = [
      contexts.create(stranger.caller, { vm, language: "python" }),
      contexts.list(stranger.caller, vm),
      contexts.get(stranger.caller, place),
      contexts.restart(stranger.caller, place),
      contexts.interrupt(stranger.caller, place),
      contexts.delete(stranger.caller, place),
    ];
    for (const failure of await Promise.all(asked.map(failureOf))) {
      expect(failure).toMatchObject({ code: "vm_not_found" });
    }
  });

  test("are gone with their VM, and the error says so", async () => {
    await using world = new FakeWorld();
    const { client, vm, contexts } = await openContexts(world);
    const { contextId } = await contexts.create(client.caller, { vm, language: "python" });
    world.room.kill(vm.vmId);
    expect(await failureOf(contexts.get(client.caller, { vm, contextId }))).toMatchObject({
      code: expect.stringMatching(/^vm_(lost|not_found)$/),
    });
  });
});
