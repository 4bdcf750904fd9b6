import { FakeClient, type FakeServer, FakeWorld, nothing, settle } from "@instavm/testkit";
import { describe, expect, test } from "vitest";

/** What a run does to the world, and with which pool. */
interface Scenario {
  readonly name: string;
  readonly poolSize: number;
  /** Sessions that are there before it, and those that it makes. */
  readonly kept: number;
  readonly made: number;
  readonly prepare: (world: FakeWorld, server: FakeServer, client: FakeClient) => Promise<void>;
  /** Rejects or resolves; either way everything that it leaves must be told by the records. */
  readonly run: (client: FakeClient, signal: AbortSignal) => Promise<unknown>;
}

const scenarios: readonly Scenario[] = [
  {
    name: "the first create, which makes the template",
    poolSize: 0,
    kept: 0,
    made: 1,
    prepare: async () => {},
    run: (client, signal) => client.create({ env: { A: "1" } }, { signal }),
  },
  {
    name: "a create from the template",
    poolSize: 0,
    kept: 0,
    made: 1,
    prepare: async (_world, _server, client) => void (await client.kill(await client.open())),
    run: (client, signal) => client.create({ env: { A: "1" } }, { signal }),
  },
  {
    name: "a create from the pool with an environment",
    poolSize: 1,
    kept: 0,
    made: 1,
    prepare: async (world, { platform }) => {
      let ready = 0;
      const look = async (): Promise<void> => void (ready = (await platform.host.status()).pool.ready);
      await world.clock.passUntil(() => (void look(), ready === 1), "the pool is full");
    },
    run: (client, signal) => client.create({ env: { A: "1" } }, { signal }),
  },
  {
    name: "a fork of a session's VM",
    poolSize: 0,
    kept: 1,
    made: 2,
    prepare: async (world, _server, client) => {
      world.room.fork = { isPossible: true };
      await client.open();
    },
    run: async (client, signal) => {
      const [source] = await client.list(1);
      return client.fork(source?.vm?.vmId, { count: 2, env: { A: "1" } }, { signal });
    },
  },
];

async function begin(world: FakeWorld, scenario: Scenario): Promise<{ server: FakeServer; client: FakeClient }> {
  const server = world.server((settings) => ({
    ...settings,
    pool: { ...settings.pool, size: scenario.poolSize },
    // They are made in the background, and their calls would be counted.
    zygotes: { ...settings.zygotes, memoryMib: 0 },
  }));
  await server.platform.start();
  const client = new FakeClient(server.platform);
  await scenario.prepare(world, server, client);
  return { server, client };
}

/** Lets retries and back-offs run out, then stops the server and ends what the records call alive. */
async function expectNothingLeft(world: FakeWorld, server: FakeServer, point: string): Promise<void> {
  server.faults.clear();
  await world.clock.advance(120_000);
  const client = new FakeClient(server.platform);
  for (const { session } of await client.list(10)) {
    if (session.endedAtMs === undefined) await client.kill(session.sessionId);
  }
  await server.platform.close();
  await settle();
  expect({ point, ...world.remains() }).toEqual({ point, ...nothing });
}

describe.each(scenarios)("$name leaves nothing that nobody knows", (scenario) => {
  test("when its client goes away at any point of any port's call", async () => {
    const total = await countPoints(scenario);
    expect(total).toBeGreaterThan(3);
    for (let at = 1; at <= total; at += 1) {
      await using world = new FakeWorld();
      const { server, client } = await begin(world, scenario);
      const gone = new AbortController();
      server.faults.plan(at, { kind: "happen", what: () => gone.abort(new Error("client went away")) });
      const outcome = await settled(world, scenario.run(client, gone.signal));
      const point = `${at} ${server.faults.points[at - 1] ?? ""}`;
      expect([point, outcome]).toEqual([point, "client went away"]);
      await world.clock.advance(0);
      expect({ point, live: world.remains().liveSessionRecords }).toEqual({ point, live: scenario.kept });
      await expectNothingLeft(world, server, point);
    }
  });

  test("when any port's call fails", async () => {
    const total = await countPoints(scenario);
    for (let at = 1; at <= total; at += 1) {
      await using world = new FakeWorld();
      const { server, client } = await begin(world, scenario);
      server.faults.plan(at, { kind: "fail" });
      const outcome = await settled(world, scenario.run(client, new AbortController().signal));
      const point = `${at} ${server.faults.points[at - 1] ?? ""}`;
      const live = scenario.kept + (outcome === "done" ? scenario.made : 0);
      expect({ point, live: world.remains().liveSessionRecords }).toEqual({ point, live });
      await expectNothingLeft(world, server, point);
    }
  });

  test("when the server is killed at any point of any port's call, after the next one has started", async () => {
    const total = await countPoints(scenario);
    for (let at = 1; at <= total; at += 1) {
      await using world = new FakeWorld();
      const { server, client } = await begin(world, scenario);
      const killed = Promise.withResolvers<void>();
      server.faults.plan(at, { kind: "happen", what: () => killed.resolve(server.kill()) });
      void settled(world, scenario.run(client, new AbortController().signal)).catch(() => {});
      await killed.promise;
      const point = `${at} ${server.faults.points[at - 1] ?? ""}`;
      const next = await world.startedServer();
      const after = world.remains();
      expect({ point, ...after }).toMatchObject({
        point,
        drafts: 0,
        processes: after.liveSessionRecords,
        directories: after.liveSessionRecords,
        liveVmRecords: after.liveSessionRecords,
      });
      await expectNothingLeft(world, next, point);
    }
  });
});

async function countPoints(scenario: Scenario): Promise<number> {
  await using world = new FakeWorld();
  const { server, client } = await begin(world, scenario);
  server.faults.clear();
  expect(await settled(world, scenario.run(client, new AbortController().signal))).toBe("done");
  return server.faults.points.length;
}

/** `done` or the error's message; time passes meanwhile, so that deadlines come. */
async function settled(world: FakeWorld, run: Promise<unknown>): Promise<string> {
  let outcome: string | undefined;
  run.then(
    () => (outcome = "done"),
    (error: unknown) => (outcome = error instanceof Error ? error.message : String(error)),
  );
  await world.clock.passUntil(() => outcome !== undefined, "the run settles");
  return outcome ?? "";
}
