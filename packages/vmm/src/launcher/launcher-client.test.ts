import { InstaVmError, vmIdSchema } from "@instavm/contract";
import type { VmId } from "@instavm/contract";
import { failureOf, makeResource, runCommand, sleep } from "@instavm/process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, readlink, readdir, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, expect, test } from "vitest";
import { launcherBinaryPath } from "./binary-path.ts";
import type { LauncherOptions } from "./ensure-launcher.ts";
import { launcherChecks } from "./launcher-checks.ts";
import { ensureLauncher } from "./launcher-client.ts";
import type { LaunchStart } from "./launcher-client.ts";

beforeAll(async () => {
  if (existsSync(launcherBinaryPath())) return;
  const cwd = fileURLToPath(new URL("../../../../", import.meta.url));
  const failure = failureOf(
    "cargo",
    await runCommand(["cargo", "build", "-p", "instavm-launcher"], { timeoutMs: 600_000, cwd }),
  );
  if (failure !== undefined) throw new InstaVmError("host_setup", failure);
}, 600_000);

/** A state directory that takes its launcher and VMs along when the test ends. */
async function makeHome() {
  const stateDir = await mkdtemp(join(tmpdir(), "instavm-client-"));
  const lines: string[] = [];
  const log = (event: string): void => void lines.push(event);
  const options: LauncherOptions = {
    stateDir,
    binaryPath: launcherBinaryPath(),
    programs: ["/bin/sh", "/bin/sleep"],
    readRoots: [],
    log: { info: log, warn: log, error: log },
  };
  const home = {
    options,
    lines,
    launcherPid: async () => Number(await readFile(join(stateDir, "launcher.lock"), "utf8")),
    async vm(number: number): Promise<VmId> {
      const vmId = vmIdSchema.parse(`v${String(number).padStart(19, "0")}`);
      await mkdir(join(stateDir, "vms", vmId), { recursive: true });
      return vmId;
    },
  };
  return makeResource(home, async () => {
    if (existsSync(join(stateDir, "launcher.lock"))) endProcess(await home.launcherPid(), "SIGKILL");
    for (const pid of await processesIn(stateDir)) endProcess(pid, "SIGKILL");
    await rm(stateDir, { recursive: true });
  });
}

async function processesIn(directory: string): Promise<number[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const places = await Promise.all(pids.map((pid) => readlink(`/proc/${pid}/cwd`).catch(() => "")));
  return pids.filter((_, index) => places[index]?.startsWith(`${directory}/`) === true).map(Number);
}

function endProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // it is gone already
  }
}

async function isRunning(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => ") Z ");
  return !stat.includes(") Z ");
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < 1_000; attempt += 1) {
    if (await holds()) return;
    await sleep(20);
  }
  expect.fail(`${what}: not within 20 s`);
}

function shell(vmId: VmId, script: string): LaunchStart {
  return {
    vmId,
    program: "/bin/sh",
    args: ["-c", script],
    clones: [],
    inherited: [],
    priority: 0,
    listeners: [],
    forkable: false,
  };
}

const codeOf = async (call: Promise<unknown>): Promise<string> => {
  try {
    await call;
    return "none";
  } catch (error) {
    return error instanceof InstaVmError ? error.code : String(error);
  }
};

test("a process is started, ends, is listed with its end and forgotten", async () => {
  await using home = await makeHome();
  await using client = await ensureLauncher(home.options);
  const vmId = await home.vm(1);
  const { pid } = await client.start(shell(vmId, "exit 5"));
  expect(await client.ended(vmId)).toEqual({ kind: "exited", exitCode: 5 });
  expect(await client.list()).toEqual([{ vmId, pid, ended: { kind: "exited", exitCode: 5 } }]);
  await client.forget(vmId);
  expect(await client.list()).toEqual([]);
  expect(await client.ended(vmId)).toEqual({ kind: "unknown" });
});

test("a signal ends a process and the reason names it", async () => {
  await using home = await makeHome();
  await using client = await ensureLauncher(home.options);
  const vmId = await home.vm(1);
  const { pid } = await client.start(shell(vmId, "exec sleep 600"));
  await client.setPriority(vmId, 5);
  await client.signal(vmId, 9);
  expect(await client.ended(vmId)).toEqual({ kind: "signalled", signal: 9 });
  expect(await isRunning(pid)).toBe(false);
  expect(await codeOf(client.signal(vmId, 9))).toBe("vm_not_found");
  expect(await codeOf(client.setPriority(vmId, 0))).toBe("vm_not_found");
});

test("a VM can be started again after its end was forgotten, with an end of its own", async () => {
  await using home = await makeHome();
  await using client = await ensureLauncher(home.options);
  const vmId = await home.vm(1);
  for (const exitCode of [1, 2, 3]) {
    await client.start(shell(vmId, `exit ${exitCode}`));
    expect(await client.ended(vmId)).toEqual({ kind: "exited", exitCode });
    await client.forget(vmId);
  }
});

test("servers that start a launcher at the same time meet at one", async () => {
  await using home = await makeHome();
  const vmId = await home.vm(1);
  const clients = await Promise.all(Array.from({ length: 5 }, () => ensureLauncher(home.options)));
  await clients[0]?.start(shell(vmId, "exec sleep 600"));
  for (const client of clients) expect((await client.list()).map((process) => process.vmId)).toEqual([vmId]);
  for (const client of clients) client.close();
});

test("what the launcher refuses carries a code and its sentence, and the end of what runs is still told", async () => {
  await using home = await makeHome();
  await using client = await ensureLauncher(home.options);
  const vmId = await home.vm(1);
  const clone = (from: string) => ({ ...shell(vmId, "exit"), clones: [{ from, toName: "disk" }] });
  await expect(client.start({ ...shell(vmId, ""), program: "/bin/ls" })).rejects.toThrow(
    /program "\/bin\/ls": expected one of/,
  );
  expect(await codeOf(client.start(clone("/etc/passwd")))).toBe("engine_failed");
  expect(await codeOf(client.start(clone(join(home.options.stateDir, "none"))))).toBe("engine_failed");
  await client.start(shell(vmId, "exec sleep 600"));
  expect(await codeOf(client.start(shell(vmId, "exit")))).toBe("conflict");
  expect(await codeOf(client.forget(vmId))).toBe("conflict");
  await client.signal(vmId, 15);
  expect(await client.ended(vmId)).toEqual({ kind: "signalled", signal: 15 });
});

test("a VM's files are cloned and inherited", async () => {
  await using home = await makeHome();
  await using client = await ensureLauncher(home.options);
  const [vmId, from] = [await home.vm(1), join(home.options.stateDir, "template")];
  await writeFile(from, "template");
  const start = shell(vmId, "cat disk && cat <&7");
  await client.start({
    ...start,
    clones: [{ from, toName: "disk" }],
    inherited: [{ fd: 7, path: from, writable: false }],
  });
  await client.ended(vmId);
  expect(await readFile(join(home.options.stateDir, "vms", vmId, "vm.log"), "utf8")).toBe("templatetemplate");
});

test("a killed launcher is replaced, VMs live on, and their ends are still told", async () => {
  await using home = await makeHome();
  await using client = await ensureLauncher(home.options);
  const [lives, dies] = [await home.vm(1), await home.vm(2)];
  const { pid } = await client.start(shell(lives, "exec sleep 600"));
  const lost = await client.start(shell(dies, "exec sleep 600"));
  const ends = [client.ended(lives), client.ended(dies)];

  const launcherPid = await home.launcherPid();
  process.kill(launcherPid, "SIGSTOP");
  const pending = client.list();
  const started = codeOf(client.start(shell(await home.vm(3), "exec sleep 600")));
  process.kill(lost.pid, "SIGKILL");
  process.kill(launcherPid, "SIGKILL");
  // What can be asked twice is; whether a start was done, nobody could tell.
  expect((await pending).map((process) => process.vmId)).toEqual([lives, dies]);
  expect(await started).toBe("launcher_unreachable");

  expect(await ends[1]).toEqual({ kind: "unknown" });
  expect(await isRunning(pid)).toBe(true);
  expect(await home.launcherPid()).not.toBe(launcherPid);
  await client.signal(lives, 9);
  expect(await ends[0]).toEqual({ kind: "unknown" });
});

test("a client that closes leaves VMs running, and the next one is told of their end", async () => {
  await using home = await makeHome();
  const first = await ensureLauncher(home.options);
  const vmId = await home.vm(1);
  const { pid } = await first.start(shell(vmId, "exec sleep 600"));
  first.close();
  expect(await codeOf(first.list())).toBe("launcher_unreachable");
  await using second = await ensureLauncher(home.options);
  const end = second.ended(vmId);
  expect(await second.list()).toEqual([{ vmId, pid, ended: undefined }]);
  await second.signal(vmId, 9);
  expect(await end).toEqual({ kind: "signalled", signal: 9 });
});

test("a launcher that does not answer ends the wait at its deadline or with the caller's reason", async () => {
  await using home = await makeHome();
  await using client = await ensureLauncher(home.options);
  const launcherPid = await home.launcherPid();
  process.kill(launcherPid, "SIGSTOP");
  await expect(client.list({ timeoutMs: 100 })).rejects.toThrow(/the launcher did not answer within 100 ms/);
  const caller = new AbortController();
  const call = client.list({ signal: caller.signal });
  caller.abort(new Error("left"));
  await expect(call).rejects.toThrow("left");
  process.kill(launcherPid, "SIGCONT");
  expect(await client.list()).toEqual([]);
});

test("a process that starts after its caller left is ended and forgotten", async () => {
  await using home = await makeHome();
  await using client = await ensureLauncher(home.options);
  const vmId = await home.vm(1);
  const launcherPid = await home.launcherPid();
  process.kill(launcherPid, "SIGSTOP");
  expect(await codeOf(client.start(shell(vmId, "exec sleep 600"), { timeoutMs: 100 }))).toBe("launcher_unreachable");
  process.kill(launcherPid, "SIGCONT");
  await until("the VM's start", async () => existsSync(join(home.options.stateDir, "vms", vmId, "vm.log")));
  await until("an empty list", async () => (await client.list()).length === 0);
  expect(await processesIn(home.options.stateDir)).toEqual([]);
});

test("a launcher that was started for other programs is replaced and its VMs are adopted", async () => {
  await using home = await makeHome();
  const first = await ensureLauncher({ ...home.options, programs: ["/bin/sh"] });
  const vmId = await home.vm(1);
  const { pid } = await first.start(shell(vmId, "exec sleep 600"));
  first.close();
  await using second = await ensureLauncher(home.options);
  expect(home.lines).toContain("launcher_replaced");
  expect(await second.list()).toEqual([{ vmId, pid, ended: undefined }]);
});

test("a launcher that cannot be started says why and what to do", async () => {
  await using home = await makeHome();
  const missing = ensureLauncher({ ...home.options, binaryPath: "/nonexistent/launcher" });
  await expect(missing).rejects.toMatchObject({
    code: "host_setup",
    message: /\/nonexistent\/launcher could not be started: ENOENT/,
  });
  const broken = ensureLauncher({ ...home.options, readRoots: ["/nonexistent/images"] });
  await expect(broken).rejects.toMatchObject({ code: "host_setup", message: /\/nonexistent\/images: / });
  const long = ensureLauncher({ ...home.options, stateDir: `/tmp/${"x".repeat(120)}` });
  await expect(long).rejects.toMatchObject({ code: "host_setup", next: "Use a state directory with a shorter path." });
});

test("whoever answers on the socket and is no launcher is given up at the deadline", async () => {
  await using home = await makeHome();
  const impostor = createServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n").on("error", () => {}));
  await new Promise<void>((resolve) => {
    impostor.listen(join(home.options.stateDir, "launcher.sock"), resolve);
  });
  try {
    const reached = ensureLauncher(home.options, { timeoutMs: 1_000 });
    await expect(reached).rejects.toMatchObject({ code: "host_setup", message: /another program listens there/ });
  } finally {
    impostor.close();
  }
});

test("the doctor sees the program and the launcher that runs", async () => {
  await using home = await makeHome();
  const { stateDir, binaryPath } = home.options;
  const before = await launcherChecks({ stateDir, binaryPath });
  expect(before.map((check) => [check.outcome, check.seen])).toEqual([
    ["ok", binaryPath],
    ["ok", "none; a server starts it"],
  ]);
  await using client = await ensureLauncher(home.options);
  expect(await client.list()).toEqual([]);
  const [missing, running] = await launcherChecks({ stateDir, binaryPath: "/nonexistent/launcher" });
  expect([missing?.outcome, missing?.remedy]).toEqual(["failed", "script/setup"]);
  expect(running?.seen).toMatch(/^version \d.*, pid \d+$/);
});
