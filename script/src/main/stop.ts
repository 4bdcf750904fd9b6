import { rmSync } from "node:fs";
import { join } from "node:path";
import {
  adminClient,
  endProcess,
  forgetPid,
  isAnswering,
  launcherOf,
  localServer,
  runningPid,
} from "../local-server.ts";
import type { LocalServer } from "../local-server.ts";

/** `script/stop`: ends the server that `script/quickstart` started, the admin key's sessions, the pool and the launcher. */

await stop(localServer(process.env));

async function stop(server: LocalServer): Promise<void> {
  const pid = runningPid(server);
  if (pid === undefined) {
    const answers = await isAnswering(server);
    console.log(
      answers
        ? `The server at ${server.baseUrl} was not started by script/quickstart: stop it where it runs.`
        : "No server runs.",
    );
    process.exitCode = answers ? 1 : 0;
    return;
  }
  await endSessions(server);
  if (!(await endProcess(pid, 30_000))) {
    console.error(
      `error: the server, pid ${String(pid)}, still runs 30 s after SIGTERM.\nnext:  kill -9 ${String(pid)}`,
    );
    process.exitCode = 1;
    return;
  }
  forgetPid(server);
  console.log(`server stopped (pid ${String(pid)})`);
  await endLauncher(server);
}

async function endSessions(server: LocalServer): Promise<void> {
  if (!(await isAnswering(server))) return;
  const client = adminClient(server);
  const sessions = await client.listSessions({ limit: 1000 });
  await Promise.all(sessions.map(async (session) => await client.kill(session.sessionId)));
  if (sessions.length > 0) console.log(`sessions ended: ${String(sessions.length)}`);
}

/** It would end by itself after a minute without VMs; VMs of other keys' sessions live on and keep it. */
async function endLauncher(server: LocalServer): Promise<void> {
  const launcher = launcherOf(server);
  if (launcher === undefined) return;
  if (launcher.vmPids.length > 0) {
    const vms = `VMs of other keys' sessions (pids ${launcher.vmPids.join(", ")})`;
    console.log(
      `Left running: launcher (pid ${String(launcher.pid)}) with ${vms}; a server on ${server.stateDirectory} finds them again.`,
    );
    return;
  }
  await endProcess(launcher.pid, 10_000);
  rmSync(join(server.stateDirectory, "launcher.sock"), { force: true });
  console.log(`launcher stopped (pid ${String(launcher.pid)})`);
}
