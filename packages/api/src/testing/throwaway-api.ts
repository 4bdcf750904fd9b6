import { connect } from "node:net";
import { createIdempotentCalls } from "@instavm/core";
import type { HostStatus, Log } from "@instavm/core";
import { FakeWorld, Faults, openMemoryRecords } from "@instavm/testkit";
import { createApi } from "../api.ts";
import type { Api, ApiParts } from "../api.ts";
import { MemoryExecutions } from "./memory-executions.ts";
import { MemoryFiles } from "./memory-files.ts";
import { MemoryKeys } from "./memory-keys.ts";
import { MemorySessions } from "./memory-sessions.ts";

/** A listening API on a free port, over sessions in memory, with one admin's key and one user's. */
export interface ThrowawayApi extends AsyncDisposable {
  readonly api: Api;
  readonly url: string;
  readonly port: number;
  readonly sessions: MemorySessions;
  readonly executions: MemoryExecutions;
  readonly files: MemoryFiles;
  readonly keys: MemoryKeys;
  readonly logged: readonly LoggedEvent[];
  /** Sends JSON with the admin's key. */
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
  /** Sends a GET, or what `init` says, with the admin's key. */
  get(path: string, init?: RequestInit): Promise<Response>;
}

interface LoggedEvent {
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>> | undefined;
}

export const hostStatus: HostStatus = {
  facts: {
    name: "fake",
    version: "7.2.22",
    accelerator: "tcg",
    acceleratorReason: "there is no /dev/kvm",
    fingerprint: "fake",
    fork: { isPossible: false, reason: "nothing runs" },
  },
  pool: { size: 4, ready: 3 },
  zygoteCount: 1,
  vmCount: 2,
  startsByKind: { pool: 5, fork: 0, clone: 1, boot: 0 },
};

/** Starts one; `await using` stops it. */
export async function startApi(changes: Partial<ApiParts> = {}, port = 0): Promise<ThrowawayApi> {
  const sessions = new MemorySessions();
  const executions = new MemoryExecutions();
  const files = new MemoryFiles();
  const keys = new MemoryKeys();
  const logged: LoggedEvent[] = [];
  const world = new FakeWorld();
  const { vms, contexts, commands } = world.server().platform;
  const api = createApi({
    sessions,
    executions,
    files,
    vms,
    contexts,
    commands,
    keys: keys.keys,
    idempotentCalls: createIdempotentCalls({
      records: openMemoryRecords(world.tables, new Faults()).answers,
      clock: { nowMs: () => Date.now() },
      log: logTo(logged),
    }),
    host: { version: "0.0.0-test", status: () => hostStatus },
    clock: { nowMs: () => Date.now(), monotonicMs: () => performance.now() },
    log: logTo(logged),
    ...changes,
  });
  const url = await api.listen({ host: "127.0.0.1", port });
  const get = async (path: string, init: RequestInit = {}): Promise<Response> =>
    fetch(url + path, { ...init, headers: { "x-api-key": keys.adminKey, ...headersOf(init) } });
  return {
    api,
    url,
    port: Number(new URL(url).port),
    sessions,
    executions,
    files,
    keys,
    logged,
    get,
    post: async (path, body, headers = {}) =>
      get(path, {
        method: "POST",
        body: JSON.stringify(body),
        headers: { "content-type": "application/json", ...headers },
      }),
    [Symbol.asyncDispose]: async () => api.close(0),
  };
}

/** Sends raw bytes, one piece every `gapMs`, and reads until the server closes. */
export async function sendRaw(port: number, pieces: readonly string[], gapMs = 0): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  const { promise, resolve } = Promise.withResolvers<string>();
  let answer = "";
  socket.setEncoding("utf8");
  socket.on("data", (data: string) => {
    answer += data;
  });
  socket.on("error", () => undefined);
  socket.on("close", () => resolve(answer));
  for (const piece of pieces) {
    if (socket.destroyed) break;
    socket.write(piece);
    await new Promise((wake) => setTimeout(wake, gapMs));
  }
  return promise;
}

function headersOf(init: RequestInit): Record<string, string> {
  return Object.fromEntries(new Headers(init.headers).entries());
}

function logTo(logged: LoggedEvent[]): Log {
  const push = (event: string, fields?: Readonly<Record<string, unknown>>): void => {
    logged.push({ event, fields });
  };
  return { info: push, warn: push, error: push };
}
