import { InstaVmError } from "@instavm/contract";
import { failureOf, FakeClient, FakeWorld, nothing, settle } from "@instavm/testkit";
import { describe, expect, test } from "vitest";

function countBoots(world: FakeWorld): () => number {
  let boots = 0;
  world.room.onGuest = (_guest, origin) => {
    if (origin === "boot") boots += 1;
  };
  return () => boots;
}

describe("a template", () => {
  test("is made once for a shape and then cloned", async () => {
    await using world = new FakeWorld();
    const boots = countBoots(world);
    const client = new FakeClient((await world.startedServer()).platform);
    await client.open();
    await client.open();
    expect(boots()).toBe(1);
    await client.open({ shape: { vcpuCount: 4, memoryMib: 1024 } });
    expect([boots(), world.room.templates.size, world.room.drafts.size]).toEqual([2, 2, 0]);
  });

  test("is shared by all who ask while it is being made", async () => {
    await using world = new FakeWorld();
    const boots = countBoots(world);
    const client = new FakeClient((await world.startedServer()).platform);
    const sessions = await Promise.all([client.open(), client.open(), client.open()]);
    expect([new Set(sessions).size, boots()]).toEqual([3, 1]);
  });

  test("is found again by the next server", async () => {
    await using world = new FakeWorld();
    const boots = countBoots(world);
    const first = await world.startedServer();
    await new FakeClient(first.platform).open();
    await first.platform.close();
    await new FakeClient((await world.startedServer()).platform).open();
    expect(boots()).toBe(1);
  });

  test("of another engine, image or warm-up is not used", async () => {
    await using world = new FakeWorld();
    const boots = countBoots(world);
    const client = new FakeClient((await world.startedServer()).platform);
    await client.kill(await client.open());
    world.room.engineFingerprint = "fake 2.0 none";
    await client.kill(await client.open());
    expect(boots()).toBe(2);
    const colder = await world.startedServer((settings) => ({
      ...settings,
      templates: { ...settings.templates, warmUp: [] },
    }));
    await new FakeClient(colder.platform).open();
    expect(boots()).toBe(3);
  });

  test("is saved warm, its session left, its VM gone", async () => {
    await using world = new FakeWorld();
    const client = new FakeClient((await world.startedServer()).platform);
    const { vm } = await client.create();
    const { runs, files, variables } = world.room.guest(vm?.vmId).state;
    expect(runs).toBeGreaterThan(10);
    expect([files.size, variables.size]).toEqual([0, 0]);
    expect(world.remains()).toMatchObject({ processes: 1, directories: 1, openSessions: 1 });
  });

  test("whose files were lost is made anew", async () => {
    await using world = new FakeWorld();
    const boots = countBoots(world);
    const client = new FakeClient((await world.startedServer()).platform);
    await client.open();
    world.room.loseTemplateFiles();
    await client.open();
    expect(boots()).toBe(2);
  });

  test("that finds no room on the disk fails the create with what is missing, and leaves nothing", async () => {
    await using world = new FakeWorld();
    const boots = countBoots(world);
    world.room.freeBytes = 2 ** 20;
    const { platform, faults } = await world.startedServer();
    const client = new FakeClient(platform);
    const died = new InstaVmError("vm_lost", "its process ended (signal 7)");
    faults.plan("link.connect", { kind: "fail", error: died });
    const failure = await failureOf(client.open());
    expect(failure).toMatchObject({ code: "disk_full", message: expect.stringContaining("1 MiB free"), cause: died });
    expect([world.remains(), boots()]).toEqual([nothing, 1]);
    world.room.freeBytes = 2 ** 30;
    await client.open();
  });

  test("is finished for the others when the client that asked first goes away", async () => {
    await using world = new FakeWorld();
    const boots = countBoots(world);
    const { platform, faults } = await world.startedServer();
    const client = new FakeClient(platform);
    const gone = new AbortController();
    faults.plan("machine.pause", { kind: "happen", what: () => gone.abort(new Error("client went away")) });
    const first = failureOf(client.create({}, { signal: gone.signal }));
    const second = client.open();
    expect(await first).toMatchObject({ message: "client went away" });
    expect(await client.print(await second, "print(1)")).toBe("1\n");
    expect(boots()).toBe(1);
  });
});

describe("a boot that hangs", () => {
  test("is ended and tried again", async () => {
    await using world = new FakeWorld();
    let boots = 0;
    world.room.onGuest = (guest, origin) => {
      if (origin === "boot") guest.faults.hangsAtBoot = (boots += 1) < 3;
    };
    const client = new FakeClient((await world.startedServer()).platform);
    const opened = client.open();
    await world.clock.passUntil(() => world.room.templates.size === 1, "the template is made");
    expect(await client.print(await opened, "print(1)")).toBe("1\n");
    expect([boots, world.log.count("template.boot_again"), world.remains().processes]).toEqual([3, 2, 1]);
    const lastWords = world.log.lines.filter(({ event }) => event === "vm.last_words");
    expect(lastWords.map(({ fields }) => fields["text"])).toEqual([
      expect.stringContaining("last line"),
      expect.stringContaining("last line"),
    ]);
  });

  test("three times fails the create, leaves nothing, and the next create tries again", async () => {
    await using world = new FakeWorld();
    let isBroken = true;
    world.room.onGuest = (guest) => (guest.faults.hangsAtBoot = isBroken);
    const client = new FakeClient((await world.startedServer()).platform);
    let failure: unknown;
    const opened = failureOf(client.open()).then((error) => (failure = error));
    await world.clock.passUntil(() => failure !== undefined, "the create fails");
    await opened;
    expect(failure).toMatchObject({ code: "guest_unreachable" });
    expect([world.remains(), world.log.count("template.boot_again")]).toEqual([nothing, 2]);
    isBroken = false;
    expect(await client.print(await client.open(), "print(1)")).toBe("1\n");
  });

  test("is not waited for when its process has ended", async () => {
    await using world = new FakeWorld();
    world.room.onGuest = (guest) => (guest.faults.hangsAtBoot = true);
    const { platform } = await world.startedServer((settings) => ({
      ...settings,
      templates: { ...settings.templates, bootAttempts: 1 },
    }));
    const opened = failureOf(new FakeClient(platform).open());
    await settle();
    for (const vmId of world.room.processes.keys()) world.room.kill(vmId);
    await settle();
    expect(await opened).toMatchObject({ code: "vm_lost", message: expect.stringContaining("signal 9") });
    expect(world.remains()).toEqual(nothing);
  });
});

describe("warming up", () => {
  test("goes on when a program that is good to have fails, and says so in the log", async () => {
    await using world = new FakeWorld();
    world.room.onGuest = (guest, origin) => void (origin === "boot" && guest.faults.failingPrograms.add("node"));
    await new FakeClient((await world.startedServer()).platform).open();
    const failed = world.log.lines.filter(({ event }) => event === "warm_up.step_failed");
    expect(failed.map(({ fields }) => fields["step"])).toEqual(expect.arrayContaining(["node -v"]));
  });

  test("fails the template when an essential step fails, at once", async () => {
    await using world = new FakeWorld();
    const boots = countBoots(world);
    const { platform } = await world.startedServer((settings) => ({
      ...settings,
      templates: {
        ...settings.templates,
        warmUp: [{ kind: "code", language: "python", code: "fail(broken)", exitCode: 0, isEssential: true }],
      },
    }));
    await expect(new FakeClient(platform).open()).rejects.toMatchObject({ code: "guest_failure" });
    expect([boots(), world.remains()]).toEqual([1, nothing]);
  });
});
