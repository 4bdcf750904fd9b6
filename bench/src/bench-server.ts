import { spawn } from "node:child_process";
import { once as onceEmitted } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { once } from "@instavm/process";
import { HttpClient } from "./http-client.ts";
import { endLauncher } from "./launcher-end.ts";
import { vmPids } from "./process-figures.ts";

/** A real server of its own for one suite: own state, the machine's image and template cache. */
export interface BenchServer extends AsyncDisposable {
  readonly client: HttpClient;
  readonly baseUrl: string;
  readonly apiKey: string;
  readonly stateDir: string;
  readonly pid: number;
  /** Stops the server process; its sandboxes live on until the server is disposed of. */
  stop(): Promise<void>;
}

export interface BenchServerOptions {
  readonly poolSize: number;
  /** Whether VMs are forked from a zygote; it is awaited then. Without it every start that is no pool hit is a file clone. */
  readonly forks: boolean;
}

const open = new Set<BenchServer>();

/** Ends every server that is open, and its VMs, for a run that is broken off; an interrupt may have reached them already. */
export async function endBenchServers(): Promise<void> {
  await Promise.allSettled(
    [...open].map(async (server) => {
      await server.stop();
      await server[Symbol.asyncDispose]();
    }),
  );
}

async function freePort(): Promise<number> {
  const probe = createServer();
  probe.listen(0, "127.0.0.1");
  await onceEmitted(probe, "listening");
  const address = probe.address();
  probe.close();
  await onceEmitted(probe, "close");
  if (address === null || typeof address === "string") throw new Error("the probe socket has no port");
  return address.port;
}

/** Starts a server and resolves when it answers; disposing of it ends its sandboxes and removes its state. */
export async function startBenchServer(options: BenchServerOptions): Promise<BenchServer> {
  const stateDir = await mkdtemp(join(tmpdir(), "instavm-bench-"));
  const baseUrl = `http://127.0.0.1:${await freePort()}`;
  const main = new URL("../../apps/server/src/main.ts", import.meta.url).pathname;
  const child = spawn(
    process.execPath,
    [
      main,
      "serve",
      "--listen",
      new URL(baseUrl).host,
      "--state-dir",
      stateDir,
      "--pool-size",
      String(options.poolSize),
      "--zygote-memory-mib",
      options.forks ? "1024" : "0",
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  const pid = child.pid;
  if (pid === undefined) throw new Error("the server process did not start");
  const exited = onceEmitted(child, "exit");
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
    await exited;
  };
  const apiKey = await waitForServer(baseUrl, stateDir);
  const client = new HttpClient(baseUrl, apiKey);
  const end = once(async () => {
    open.delete(server);
    if (child.exitCode === null) await killSessions(client);
    client[Symbol.dispose]();
    await stop();
    // A suite that stopped its server has left the sandboxes to nobody.
    for (const vmPid of (await vmPids(stateDir)).values()) process.kill(vmPid, "SIGKILL");
    await endLauncher(stateDir);
    await rm(stateDir, { recursive: true, force: true });
  });
  const server: BenchServer = {
    client,
    baseUrl,
    apiKey,
    stateDir,
    pid,
    stop,
    [Symbol.asyncDispose]: end,
  };
  open.add(server);
  if (options.forks) await makeZygote(server);
  return server;
}

/** A figure of /metrics. */
export async function metric({ client }: BenchServer, name: string): Promise<number> {
  const metrics = await client.text("/metrics");
  const value = new RegExp(`^${name} (\\d+)$`, "m").exec(metrics)?.[1];
  if (value === undefined) throw new Error(`GET /metrics has no ${name}`);
  return Number(value);
}

/** The first create of a server has its zygote made. */
async function makeZygote(server: BenchServer): Promise<void> {
  await server.client.call("POST", "/v1/sessions/session", {});
  for (let waitedMs = 0; (await metric(server, "instavm_zygotes_ready")) === 0; waitedMs += 100) {
    if (waitedMs > 180_000)
      throw new Error("there was no zygote within 180 s; bin/instavm doctor says whether VMs can be forked here");
    await sleep(100);
  }
  await killSessions(server.client);
  await sleep(1000);
}

async function waitForServer(baseUrl: string, stateDir: string): Promise<string> {
  for (let waitedMs = 0; waitedMs < 120_000; waitedMs += 50) {
    const answered = await fetch(`${baseUrl}/health`).then(
      (answer) => answer.ok,
      () => false,
    );
    if (answered) return (await readFile(join(stateDir, "admin-key"), "utf8")).trim();
    await sleep(50);
  }
  throw new Error("the server did not answer /health within 120 s");
}

async function killSessions(client: HttpClient): Promise<void> {
  const answer = await client.call("GET", "/v1/sessions/sandboxes?limit=1000");
  const sessionIds = Object.values(answer).flatMap((row) =>
    typeof row === "object" && row !== null && "session_id" in row ? [row.session_id] : [],
  );
  await Promise.all(sessionIds.map(async (sessionId) => await client.call("POST", "/kill", { session_id: sessionId })));
}
