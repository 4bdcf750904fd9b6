import { FakeClient, FakeWorld, nothing, settle } from "@instavm/testkit";
import { InstaVmError } from "@instavm/contract";
import { expect, test } from "vitest";

test("a VM whose release fails is released later, again and again until it works", async () => {
  await using world = new FakeWorld();
  const { platform, faults } = await world.startedServer();
  const client = new FakeClient(platform);
  const sessionId = await client.open();
  const error = new InstaVmError("launcher_unreachable", "the launcher does not answer");
  faults.plan("machine.end", { kind: "fail", error });
  await client.kill(sessionId);
  expect(world.remains()).toMatchObject({ processes: 1, directories: 1, liveSessionRecords: 0 });
  faults.plan("engine.adopt", { kind: "fail", error });
  await world.clock.advance(1_000);
  expect(world.remains().processes).toBe(1);
  await world.clock.advance(2_000);
  expect(world.remains()).toEqual(nothing);
  expect(world.log.count("vm.released_late")).toBe(1);
  // Until what it used is written down.
  await world.clock.advance(5_000);
  expect(world.clock.timerCount).toBe(0);
});

test("a call waits while the link is being mended", async () => {
  await using world = new FakeWorld();
  const { platform, faults } = await world.startedServer();
  const client = new FakeClient(platform);
  const { session, vm } = await client.create();
  await client.execute(session.sessionId, "x = 5");
  const process = vm && world.room.processes.get(vm.vmId);
  process?.session?.close(new InstaVmError("guest_unreachable", "planned"));
  faults.clear();
  expect(await client.print(session.sessionId, "print(x)")).toBe("5\n");
  expect(faults.points.filter((point) => point === "link.connect").length).toBe(1);
});

test("a VM whose agent is not reached again is ended and its record says why", async () => {
  await using world = new FakeWorld();
  const { platform } = await world.startedServer();
  const client = new FakeClient(platform);
  const { session, vm } = await client.create();
  world.room.guest(vm?.vmId).faults.isDeaf = true;
  world.room.processes.values().next().value?.session?.close(new InstaVmError("guest_unreachable", "planned"));
  await world.clock.advance(15_000);
  await settle();
  expect(world.remains()).toMatchObject({ processes: 0, directories: 0, liveVmRecords: 0 });
  expect((await client.get(session.sessionId)).vm).toMatchObject({
    status: "failed",
    endReason: expect.stringContaining("its agent stopped answering"),
  });
  expect(await client.print(session.sessionId, "print(1)")).toBe("1\n");
});
