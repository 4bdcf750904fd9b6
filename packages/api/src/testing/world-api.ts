import { FakeWorld } from "@instavm/testkit";
import type { FakeServer } from "@instavm/testkit";
import { startApi } from "./throwaway-api.ts";
import type { ThrowawayApi } from "./throwaway-api.ts";

/** A listening API over the whole domain in a pretend world. */
export interface WorldApi extends AsyncDisposable {
  readonly world: FakeWorld;
  readonly server: FakeServer;
  readonly api: ThrowawayApi;
  /** Sends a request with the admin's key, or another; resolves with what was answered. */
  call(method: string, path: string, options?: CallOptions): Promise<Answer>;
}

interface CallOptions {
  readonly body?: unknown;
  readonly key?: string;
}

interface Answer {
  readonly status: number;
  /** The answer's JSON. */
  readonly body: unknown;
}

/** Starts one; `await using` stops it. */
export async function startWorldApi(): Promise<WorldApi> {
  const world = new FakeWorld();
  const server = await world.startedServer();
  const { sessions, vms, executions, contexts, commands } = server.platform;
  const api = await startApi({ sessions, vms, executions, contexts, commands, clock: world.clock });
  return {
    world,
    server,
    api,
    call: async (method, path, { body, key = api.keys.adminKey } = {}) => {
      const headers = { "x-api-key": key, ...(body === undefined ? {} : { "content-type": "application/json" }) };
      const content = body === undefined ? {} : { body: JSON.stringify(body) };
      const answer = await fetch(api.url + path, { method, headers, ...content });
      return { status: answer.status, body: await answer.json() };
    },
    [Symbol.asyncDispose]: async () => {
      await api[Symbol.asyncDispose]();
      await world[Symbol.asyncDispose]();
    },
  };
}
