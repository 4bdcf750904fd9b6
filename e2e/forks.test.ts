import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until, vmProcess, vmProcesses } from "./support/agreement.ts";
import { RealServer } from "./support/real-server.ts";
import { TestSession } from "./support/test-session.ts";

const zygoteMemoryMib = 1024;
const twins = Number(process.env["INSTAVM_FORK_TWINS"] ?? 12);
const twinsAtOnce = 12;

/** A server whose next create is a fork. */
async function startForking(): Promise<RealServer> {
  const server = await RealServer.start({ zygoteMemoryMib });
  await (await TestSession.open(server))[Symbol.asyncDispose]();
  await untilZygote(server);
  return server;
}

async function untilZygote(server: RealServer): Promise<void> {
  const isReady = async (): Promise<boolean> => (await server.metric("instavm_zygotes_ready")) === 1;
  await until("there is a zygote", isReady, 180_000);
}

/** The process that stands still: no session's. */
function zygotePid(server: RealServer, sessions: readonly TestSession[]): number {
  const own = new Set(sessions.map(({ vmId }) => String(vmId)));
  const [pid, ...more] = [...vmProcesses(server)].flatMap(([vmId, vmPid]) => (own.has(vmId) ? [] : [vmPid]));
  expect([pid, more]).toEqual([expect.any(Number), []]);
  if (pid === undefined) throw new Error("there is no zygote");
  return pid;
}

describe("with a zygote", () => {
  let server: RealServer;
  beforeAll(async () => {
    server = await startForking();
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
  });

  test("a create is a fork, with its own environment, state and time", async () => {
    const { sessionId, start } = await server.client.createSession({ env: { WHO: "fork" } });
    expect(start).toBe("fork");
    const code = "import os, time; x = 41; print(os.environ['WHO'], time.time())";
    const [who, seconds] = (await server.client.execute(sessionId, code)).stdout.trim().split(" ");
    expect(who).toBe("fork");
    expect(Math.abs(Number(seconds) * 1000 - Date.now())).toBeLessThan(10_000);
    expect(await server.client.execute(sessionId, "print(x + 1)")).toMatchObject({ stdout: "42\n" });
    await server.client.kill(sessionId);
  });

  test("forks are no twins, whatever they draw", async () => {
    const draw = `
import os, random, secrets, uuid, subprocess
print(open('/proc/sys/kernel/random/uuid').read().strip(), os.urandom(16).hex(), random.random(), secrets.token_hex(),
  uuid.uuid4(), open('/etc/machine-id').read().strip(), subprocess.check_output(['node', '-p', 'crypto.randomUUID()'], text=True).strip())`;
    const drawn: string[][] = [];
    let begun = 0;
    const drawOn = async (): Promise<void> => {
      while (begun < twins) {
        begun += 1;
        await using session = await TestSession.open(server);
        expect(session.start).toBe("fork");
        drawn.push((await session.python(draw, { timeoutS: 120 })).stdout.trim().split(" "));
      }
    };
    await Promise.all(Array.from({ length: twinsAtOnce }, drawOn));
    expect(drawn.length).toBe(twins);
    for (const index of [0, 1, 2, 3, 4, 5, 6]) {
      const values = drawn.map((words) => words[index]);
      expect(new Set(values).size, `value ${String(index)}: ${values.join(" ")}`).toBe(drawn.length);
    }
  }, 900_000);

  test("forks that work hard at once are each right, and leave nothing in zygote and launcher", async () => {
    const pid = zygotePid(server, []);
    const figures = () => ({
      descriptors: readdirSync(`/proc/${String(pid)}/fd`).length,
      threads: readdirSync(`/proc/${String(pid)}/task`).length,
    });
    const before = figures();
    for (let round = 0; round < 4; round += 1) {
      await Promise.all(Array.from({ length: 6 }, (_, index) => workHard(server, `${String(round)}-${String(index)}`)));
    }
    const after = figures();
    expect(after.descriptors).toBe(before.descriptors);
    // QEMU ends threads that had nothing to do.
    expect(after.threads).toBeLessThanOrEqual(before.threads);
    const stillAlive = readFileSync(`/proc/${String(pid)}/stat`, "utf8");
    expect(stillAlive).not.toContain(") Z ");
    expect(server.vmPids()).toEqual([pid]);
  });

  test("a fork whose disk is full and one that is stopped are nobody else's matter", async () => {
    await using full = await TestSession.open(server);
    await using stopped = await TestSession.open(server);
    await using other = await TestSession.open(server);
    expect([full.start, stopped.start, other.start]).toEqual(["fork", "fork", "fork"]);
    const stoppedPid = vmProcess(server, stopped.vmId);
    process.kill(stoppedPid, "SIGSTOP");
    const fill = 'fallocate -l "$(df --output=avail -B1 /app | tail -1)" /app/fill; head -c 10M /dev/zero > /app/more';
    expect((await full.bash(fill)).stderr).toContain("No space left on device");
    expect(await other.bash("echo fits > /app/file && sync && cat /app/file")).toMatchObject({ stdout: "fits\n" });
    await using next = await TestSession.open(server);
    expect(await next.python("print(6 * 7)")).toMatchObject({ stdout: "42\n" });
    process.kill(stoppedPid, "SIGCONT");
    expect(await stopped.python("print(6 * 7)")).toMatchObject({ stdout: "42\n" });
  });

  test("a zygote that is killed takes nobody along, and is replaced", async () => {
    await using session = await TestSession.open(server);
    await session.python("kept = 1");
    process.kill(zygotePid(server, [session]), "SIGKILL");
    await until("it is gone", async () => (await server.metric("instavm_zygotes_ready")) === 0);
    await using between = await TestSession.open(server);
    expect(await between.python("print(1)")).toMatchObject({ stdout: "1\n" });
    await untilZygote(server);
    await using after = await TestSession.open(server);
    expect(after.start).toBe("fork");
    expect(await session.python("print(kept)")).toMatchObject({ stdout: "1\n" });
  });
});

test("forks outlive a server that is killed; its zygote does not, and the next server makes its own", async () => {
  await using server = await startForking();
  const { sessionId, vmId } = await server.client.createSession();
  await server.client.execute(sessionId, "kept = 1");
  await server.crash();
  await server.startAgain();
  expect([...vmProcesses(server).keys()]).toEqual([vmId]);
  expect(await server.client.execute(sessionId, "print(kept)")).toMatchObject({ stdout: "1\n", vmId });
  await (await TestSession.open(server))[Symbol.asyncDispose]();
  await untilZygote(server);
  expect(await server.client.createSession()).toMatchObject({ start: "fork" });
  expect(await server.client.execute(sessionId, "print(kept + 1)")).toMatchObject({ stdout: "2\n", vmId });
});

/** Hashes a file it wrote, threads, a tree of processes, timers and a lot of output, each against the known answer. */
async function workHard(server: RealServer, name: string): Promise<void> {
  await using session = await TestSession.open(server);
  expect(session.start).toBe("fork");
  const digest = createHash("sha256").update(name.repeat(100_000)).digest("hex");
  const code = `
import concurrent.futures, hashlib, os, subprocess, threading, time
open('work', 'w').write(${JSON.stringify(name)} * 100_000)
os.sync()
assert hashlib.sha256(open('work', 'rb').read()).hexdigest() == ${JSON.stringify(digest)}
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    assert sum(pool.map(lambda n: sum(range(n)), range(200))) == 1313400
assert subprocess.check_output("for i in 1 2 3; do (echo $i; sh -c 'echo x') & done; wait", shell=True).count(b'\\n') == 6
fired = threading.Event()
started = time.monotonic()
threading.Timer(0.05, fired.set).start()
assert fired.wait(20) and time.monotonic() - started >= 0.04
print('x' * 2_000_000)`;
  const result = await session.python(code, { timeoutS: 120 });
  expect(result).toMatchObject({ exitCode: 0, stderr: "" });
  expect(result.stdout).toBe(`${"x".repeat(2_000_000)}\n`);
}
