import { type ForkVmOptions, InstaVmError, type Vm } from "instavm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until, vmProcesses, witnesses } from "./support/agreement.ts";
import { RealServer } from "./support/real-server.ts";
import { TestSession } from "./support/test-session.ts";

const zygoteMemoryMib = 1024;
/** A clock is set when the agent is reached, which takes its time on a busy machine. */
const clockMayBeOffMs = 2_000;

/** Runs Python in a VM and resolves with what it printed. */
async function python({ client }: RealServer, { sessionId }: Pick<Vm, "sessionId">, code: string): Promise<string> {
  const result = await client.execute(sessionId, code, { language: "python", timeoutS: 60 });
  expect(result).toMatchObject({ exitCode: 0 });
  return result.stdout.trim();
}

/** Copies a VM; disposing of them ends those that a test has not ended itself. */
async function forksOf(
  { client }: RealServer,
  vmId: string | undefined,
  options: ForkVmOptions = {},
): Promise<{ readonly vms: readonly Vm[] } & AsyncDisposable> {
  const vms = await client.vms.fork(String(vmId), options);
  const end = async (): Promise<void> => {
    for (const vm of vms) await client.vms.delete(vm.vmId);
  };
  return { vms, [Symbol.asyncDispose]: end };
}

describe("forks of a VM that runs", () => {
  let server: RealServer;
  beforeAll(async () => {
    server = await RealServer.start({ zygoteMemoryMib });
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
  });

  test("have its heap, files, processes and commands, and go their own ways", async () => {
    await using source = await TestSession.open(server, { env: { WHO: "source", KEPT: "yes" } });
    await source.python("import os, threading, time\nx = {'n': [1, 2]}\nbeats = 0");
    await source.python(
      "def beat():\n  global beats\n  while True: beats += 1; time.sleep(0.02)\nthreading.Thread(target=beat, daemon=True).start()\nopen('f', 'w').write('before')",
    );
    const counting = "while true; do echo line >> /app/counted; sleep 0.05; done";
    const { commandId } = await server.client.commands(source.sessionId).start(counting, { tag: "count" });
    await until("the command runs", async () => (await source.bash("cat /app/counted")).stdout !== "");
    await using forks = await forksOf(server, source.vmId, { count: 2, env: { WHO: "fork" }, name: "copy" });
    const { vms } = forks;
    expect(vms.map(({ forkedFrom, start, name }) => [forkedFrom, start, name])).toEqual(
      vms.map(() => [source.vmId, "fork", "copy"]),
    );
    for (const [index, vm] of vms.entries()) {
      const seen = await python(
        server,
        vm,
        `x['n'].append(${String(index)}); n = beats; time.sleep(0.3); print(x, open('f').read(), os.environ['WHO'], os.environ['KEPT'], beats > n)`,
      );
      expect(seen).toBe(`{'n': [1, 2, ${String(index)}]} before fork yes True`);
      await python(server, vm, `_ = open('f', 'w').write('of ${vm.vmId}')`);
      const commands = server.client.commands(vm.sessionId);
      expect(await commands.list()).toMatchObject([{ commandId, tag: "count", isRunning: true }]);
      const counted = async (): Promise<number> =>
        Number(await python(server, vm, "print(open('/app/counted').read().count('line'))"));
      const before = await counted();
      await until("the command goes on in the copy", async () => (await counted()) > before);
    }
    expect(await python(server, source, "print(x, open('f').read(), os.environ['WHO'])")).toBe(
      "{'n': [1, 2]} before source",
    );
  });

  test("leave the stream of their source as it is, and the cell that ran then is interrupted in them", async () => {
    await using source = await TestSession.open(server);
    await source.python("import time\nkept = 1");
    const lines: string[] = [];
    const streaming = (async () => {
      const code = "for i in range(100):\n  print(i, flush=True)\n  time.sleep(0.05)";
      for await (const event of server.client.stream(source.sessionId, code, { language: "python" })) {
        lines.push(event.type === "stdout" ? event.text : event.type);
      }
    })();
    await until("the stream has begun", () => lines.length > 3);
    await using forks = await forksOf(server, source.vmId, { count: 3 });
    const { vms } = forks;
    for (const vm of vms) {
      expect(await python(server, vm, "print(kept, i < 99)")).toBe("1 True");
    }
    await streaming;
    expect(lines.join("")).toBe(`${Array.from({ length: 100 }, (_, index) => `${String(index)}\n`).join("")}exit`);
  });

  test("are no twins, whatever they draw, and know the time", async () => {
    await using source = await TestSession.open(server);
    await source.python("import os, random, secrets, time, uuid\nrandom.seed(7)");
    const context = await server.client.contexts(source.sessionId).create({ language: "javascript" });
    const javascript = { contextId: context.contextId };
    await server.client.execute(
      source.sessionId,
      "const crypto = require('node:crypto'); crypto.randomUUID()",
      javascript,
    );
    await using forks = await forksOf(server, source.vmId, { count: 8 });
    const { vms } = forks;
    const draw = `print(open('/proc/sys/kernel/random/uuid').read().strip(), os.urandom(16).hex(), random.random(), secrets.token_hex(), uuid.uuid4(), open('/etc/machine-id').read().strip(), os.uname().nodename)`;
    const all = [{ sessionId: source.sessionId, vmId: source.vmId }, ...vms];
    const drawn: string[][] = [];
    for (const vm of all) {
      const words = (await python(server, vm, draw)).split(" ");
      expect(words.at(-1)).toBe(vm.vmId);
      const node = await server.client.execute(
        vm.sessionId,
        "console.log(crypto.randomUUID(), Math.random())",
        javascript,
      );
      drawn.push([...words, ...node.stdout.trim().split(" ")]);
      const askedAtMs = Date.now();
      const seconds = Number(await python(server, vm, "print(time.time())"));
      expect(seconds * 1000).toBeGreaterThan(askedAtMs - clockMayBeOffMs);
      expect(seconds * 1000).toBeLessThan(Date.now() + clockMayBeOffMs);
    }
    for (const index of drawn[0]?.keys() ?? []) {
      const values = drawn.map((words) => words[index]);
      expect(new Set(values).size, `value ${String(index)}: ${values.join(" ")}`).toBe(9);
    }
  });

  test("can be forked again, and outlive what they are copies of", async () => {
    const source = await server.client.vms.create({ lifetimeS: 1200 });
    await python(server, source, "x = 1");
    const [child] = await server.client.vms.fork(source.vmId);
    if (child === undefined) throw new Error("there is no child");
    expect(child.lifetimeS).toBe(1200);
    await python(server, child, "x += 1");
    await server.client.vms.delete(source.vmId);
    const grandchild = await server.client.vms.clone(child.vmId, { name: "grandchild" });
    expect(grandchild).toMatchObject({ name: "grandchild", forkedFrom: child.vmId });
    await server.client.vms.delete(child.vmId);
    expect(await python(server, grandchild, "x += 1; print(x)")).toBe("3");
    await expect(server.client.vms.fork(child.vmId)).rejects.toMatchObject({ code: "vm_not_found" });
    await server.client.vms.delete(grandchild.vmId);
  });

  test("live on when the server is killed, with their sessions; a fork that was under way leaves nothing", async () => {
    const source = await server.client.vms.create({ lifetimeS: 1200 });
    await python(server, source, "x = 41");
    const { vms: kept } = await forksOf(server, source.vmId, { count: 2 });
    for (const delayMs of [5, 40, 120]) {
      const cut = server.client.vms.fork(source.vmId, { count: 6, timeoutMs: 20_000 }).catch((error: unknown) => error);
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      await server.crash();
      const outcome = await cut;
      await server.startAgain();
      const live = (await server.client.vms.list()).map(({ vmId }) => vmId);
      // All of a fork that was recorded, or none.
      expect(outcome instanceof InstaVmError ? [3, 9] : [9]).toContain(live.length);
      const extra = live.filter((vmId) => ![source, ...kept].some((vm) => vm.vmId === vmId));
      for (const vmId of extra) await server.client.vms.delete(vmId);
      const seen = await witnesses(server, 3);
      expect(seen.processes).toEqual([source, ...kept].map(({ vmId }) => vmId).toSorted());
      expect(seen.directories).toEqual(seen.processes);
    }
    for (const vm of [source, ...kept]) expect(await python(server, vm, "print(x)")).toBe("41");
    for (const { vmId } of [source, ...kept]) await server.client.vms.delete(vmId);
    expect([...vmProcesses(server).keys()]).toEqual([]);
  });
});
