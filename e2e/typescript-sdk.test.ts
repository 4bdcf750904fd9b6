import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InstaVm, Sandbox, isInstaVmError } from "instavm";
import type { CommandOutput, ExecuteEvent, FileChange } from "instavm";
import { downloadDirectory, uploadDirectory } from "instavm/node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ForgetfulProxy } from "./support/forgetful-proxy.ts";
import { RealServer } from "./support/real-server.ts";
import { ShellUser, repository } from "./support/shell-user.ts";

let server: RealServer;

beforeAll(async () => {
  server = await RealServer.start({ poolSize: 1 });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** All that a command printed, and how it ended when it has. */
async function textOf(output: AsyncIterable<CommandOutput>) {
  const text: { stdout: string; stderr: string; exitCode: number | undefined } = {
    stdout: "",
    stderr: "",
    exitCode: undefined,
  };
  for await (const event of output) {
    if (event.type === "stdout" || event.type === "stderr") text[event.type] += event.text;
    if (event.type === "exit") text.exitCode = event.exitCode;
  }
  return text;
}

async function openSandbox(): Promise<Sandbox> {
  return await Sandbox.create({ baseUrl: server.baseUrl, apiKey: server.apiKey, lifetimeS: 600 });
}

describe("a sandbox", () => {
  test("keeps its variables, shows rich results and errors, and is gone at the end of its block", async () => {
    let sessionId: string;
    {
      await using sandbox = await openSandbox();
      sessionId = sandbox.sessionId;
      await sandbox.run("x = 41");
      const result = await sandbox.run("x + 1");
      expect(result).toMatchObject({ stdout: "42\n", success: true, error: undefined });
      expect(result.results).toMatchObject([{ type: "text/plain", data: "42", isResult: true }]);
      const failed = await sandbox.run("1 / 0");
      expect(failed).toMatchObject({ exitCode: 1, error: { name: "ZeroDivisionError", value: "division by zero" } });
      expect(await sandbox.commands.run("exit 7")).toMatchObject({ exitCode: 7, language: "bash" });
    }
    const gone = await server.client.execute(sessionId, "1").catch((error: unknown) => error);
    expect(isInstaVmError(gone, "session_not_found")).toBe(true);
  });

  test("streams output as it comes", async () => {
    await using sandbox = await openSandbox();
    const events: ExecuteEvent[] = [];
    const times: number[] = [];
    for await (const event of sandbox.stream("import time\nprint('a')\ntime.sleep(1.5)\nprint('b')\n'end'")) {
      events.push(event);
      times.push(performance.now());
    }
    expect(events).toMatchObject([
      { type: "stdout", text: "a\n" },
      { type: "stdout", text: "b\n" },
      { type: "result", mimeType: "text/plain", data: "'end'", isResult: true },
      { type: "exit", exitCode: 0, language: "python" },
    ]);
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThan(1000);
  });

  test("ends the program when its stream is left or aborted, and stays usable", async () => {
    await using sandbox = await openSandbox();
    for await (const event of sandbox.stream("while true; do echo x; done", { language: "bash" })) {
      expect(event.type).toBe("stdout");
      break;
    }
    const abort = new AbortController();
    const aborted = (async () => {
      for await (const _ of sandbox.stream("echo begun; sleep 100", { language: "bash", signal: abort.signal })) {
        abort.abort(new RangeError("enough"));
      }
    })();
    await expect(aborted).rejects.toThrow("enough");
    const left = await sandbox.commands.run("sleep 1; pgrep -c -x sleep");
    expect(left.stdout).toBe("0\n");
  });

  test("moves files: text, bytes, streams, parts, names with line breaks", async () => {
    await using sandbox = await openSandbox();
    const { files } = sandbox;
    expect(await files.write("dir/a\nb.txt", "grün")).toEqual({ path: "/app/dir/a\nb.txt", sizeBytes: 5 });
    expect(await files.read("dir/a\nb.txt")).toBe("grün");
    const big = crypto.getRandomValues(new Uint8Array(60_000));
    const bytes = new Blob(Array.from({ length: 50 }, () => big)).stream();
    expect(await files.write("big.bin", bytes, { mode: "0600" })).toMatchObject({ sizeBytes: 3_000_000 });
    expect(await files.stat("big.bin")).toMatchObject({ type: "file", sizeBytes: 3_000_000, mode: "0600" });
    const part: number[] = [];
    for await (const piece of files.stream("big.bin", { offset: 60_001, length: 3 })) part.push(...piece);
    expect(Uint8Array.from(part)).toEqual(big.slice(1, 4));
    await files.makeDirectory("x/y");
    await files.move("big.bin", "x/y/moved");
    expect((await files.list("x/y")).map(({ name }) => name)).toEqual(["moved"]);
    await files.write("from", "once");
    expect(await files.remove("x", { recursive: true })).toBe(3);
    await expect(files.read("x/y/moved")).rejects.toMatchObject({ code: "file_not_found" });
    await expect(files.write("from", "again", { mustBeNew: true })).rejects.toMatchObject({ code: "conflict" });
  });

  test("moves whole directories as archives and follows what changes", async () => {
    await using sandbox = await openSandbox();
    const { files } = sandbox;
    await files.write("tree/one", "1");
    await files.write("tree/deep/two", "2");
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    for await (const piece of files.readTree("tree")) pieces.push(new Uint8Array(piece));
    const changes: FileChange[] = [];
    for await (const change of files.watch("/app", { recursive: true })) {
      changes.push(change);
      if (change.type === "ready") await files.writeTree("copy", new Blob(pieces));
      if (change.type === "created" && change.path === "copy") break;
    }
    expect(changes[0]?.type).toBe("ready");
    const found = await sandbox.commands.run("cd copy && find . -type f | sort | xargs cat");
    expect(found.stdout).toBe("21");
  });

  test("moves directories of this machine there and back", async () => {
    await using sandbox = await openSandbox();
    const here = mkdtempSync(join(tmpdir(), "instavm-sdk-tree-"));
    try {
      const source = join(here, "source");
      mkdirSync(join(source, "sub", "d".repeat(120)), { recursive: true });
      writeFileSync(join(source, "sub", "d".repeat(120), "-ü \n"), "text");
      writeFileSync(Buffer.concat([Buffer.from(`${source}/`), Buffer.from([0xff])]), "odd");
      writeFileSync(join(source, "big"), crypto.getRandomValues(new Uint8Array(60_000)), { mode: 0o750 });
      symlinkSync("sub/none", join(source, "link"));
      const up = await uploadDirectory(sandbox.files, { from: source, to: "up" });
      expect(up).toEqual({ sizeBytes: 60_007, entries: 6, skipped: 0 });
      await sandbox.commands.run("ln -s /etc/passwd up/out; ln up/big up/hard; mkfifo up/pipe");
      const down = await downloadDirectory(sandbox.files, { from: "/app/up", to: join(here, "target") });
      expect(down).toMatchObject({ sizeBytes: 120_007, entries: 7 });
      rmSync(join(here, "target", "hard"));
      execFileSync("diff", ["-r", "--no-dereference", source, join(here, "target")]);
      expect(statSync(join(here, "target", "big")).mode & 0o777).toBe(0o750);
    } finally {
      rmSync(here, { recursive: true, force: true });
    }
  });

  test("has contexts with variables of their own, in three languages", async () => {
    await using sandbox = await openSandbox();
    const { contexts } = sandbox;
    await sandbox.run("x = 'default'");
    const python = await contexts.create({ cwd: "/tmp", env: { WHO: "me" } });
    const code = "import os; x = 'own'; print(os.getcwd(), os.environ['WHO'])";
    expect(await contexts.run(python.contextId, code)).toMatchObject({ stdout: "/tmp me\n" });
    const javascript = await contexts.create({ language: "javascript" });
    await contexts.run(javascript.contextId, "let y = 41");
    expect(await contexts.run(javascript.contextId, "y + 1")).toMatchObject({ stdout: "42\n", language: "javascript" });
    const bash = await contexts.create({ language: "bash" });
    await contexts.run(bash.contextId, "cd /usr; z=kept");
    expect(await contexts.run(bash.contextId, "echo $z $PWD")).toMatchObject({ stdout: "kept /usr\n" });
    expect(await sandbox.run("x")).toMatchObject({ stdout: "'default'\n" });
    expect(await contexts.run(python.contextId, "x")).toMatchObject({ stdout: "'own'\n" });
    const ids = (await contexts.list()).map(({ contextId }) => contextId);
    expect(ids).toEqual(expect.arrayContaining([python.contextId, javascript.contextId, bash.contextId]));

    const interrupted = contexts.run(python.contextId, "import time\nprint('in')\ntime.sleep(100)");
    await expect.poll(async () => (await contexts.get(python.contextId)).isBusy, { timeout: 20_000 }).toBe(true);
    await contexts.interrupt(python.contextId);
    expect(await interrupted).toMatchObject({ error: { name: "KeyboardInterrupt" } });
    expect(await contexts.run(python.contextId, "x")).toMatchObject({ stdout: "'own'\n" });
    await contexts.restart(python.contextId);
    expect(await contexts.run(python.contextId, "x")).toMatchObject({ error: { name: "NameError" } });
    await contexts.delete(python.contextId);
    const gone = await contexts.run(python.contextId, "1").catch((error: unknown) => error);
    expect(isInstaVmError(gone, "context_not_found")).toBe(true);
  });

  test("has commands in the background, with stdin, signals, tags and many readers", async () => {
    await using sandbox = await openSandbox();
    const { commands } = sandbox;
    const echo = await commands.start('read line; echo "got $line"; echo err >&2; cat; exit 5', {
      stdin: true,
      tag: "echo",
    });
    await echo.stdin.write("first\n");
    await echo.stdin.write(new Blob(["second"]), { close: true });
    expect(await echo.wait()).toMatchObject({ exitCode: 5, isRunning: false, tag: "echo" });
    // Two readers, both late, and one of them from the middle.
    const all = await textOf(echo);
    expect(all).toEqual({ stdout: "got first\nsecond", stderr: "err\n", exitCode: 5 });
    const later = await commands.attach(echo.commandId, { offset: 4 });
    expect((await textOf(later)).stdout).toBe("first\nsecond");

    await using sleeper = await commands.start(["sleep", "1000"], { user: "nobody", cwd: "/tmp" });
    expect((await commands.list({ tag: "echo" })).map(({ commandId }) => commandId)).toEqual([echo.commandId]);
    const who = await sandbox.commands.run(`ps -o user= -p ${String(sleeper.info.pid)}`);
    expect(who.stdout).toBe("nobody\n");
    await expect(sleeper.wait({ timeoutMs: 100 })).rejects.toMatchObject({ code: "timeout" });
    await sleeper.kill("SIGINT");
    expect(await sleeper.wait()).toMatchObject({ exitCode: 130, signal: 2 });
    await echo.delete();
    await expect(commands.attach(echo.commandId)).rejects.toMatchObject({ code: "command_not_found" });
  });

  test("reads a command's output as it comes, and what is there now", async () => {
    await using sandbox = await openSandbox();
    await using command = await sandbox.commands.start("echo begun; sleep 1.5; echo over", { timeoutS: 60 });
    const times: number[] = [];
    const texts: string[] = [];
    for await (const event of command) {
      if (event.type !== "stdout") continue;
      times.push(performance.now());
      texts.push(event.text);
    }
    expect(texts).toEqual(["begun\n", "over\n"]);
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThan(1000);
    const slow = await sandbox.commands.start("echo now; sleep 1000");
    await expect.poll(async () => (await slow.refresh()).outputBytes, { timeout: 20_000 }).toBe(4);
    expect(await textOf(slow.output({ follow: false }))).toEqual({ stdout: "now\n", stderr: "", exitCode: undefined });
    await slow.delete();
    const left = await sandbox.commands.run("pgrep -c -x sleep");
    expect(left.stdout).toBe("0\n");
  });

  test("reads a command's output to its end while the server is stopped and started again", async () => {
    await using other = await RealServer.start();
    await using sandbox = await Sandbox.create({ baseUrl: other.baseUrl, apiKey: other.apiKey, lifetimeS: 600 });
    const command = await sandbox.commands.start("for i in $(seq 60); do echo line $i; sleep 0.1; done");
    const restarted = (async () => {
      await expect.poll(async () => (await command.refresh()).outputBytes, { timeout: 20_000 }).toBeGreaterThan(20);
      await other.stop();
      await other.startAgain();
    })();
    const [read] = await Promise.all([textOf(command), command.wait(), restarted]);
    const lines = Array.from({ length: 60 }, (_, at) => `line ${String(at + 1)}\n`);
    expect(read).toEqual({ stdout: lines.join(""), stderr: "", exitCode: 0 });
  });

  test("runs code in the background", async () => {
    await using sandbox = await openSandbox();
    const { executionId, status } = await sandbox.runInBackground("sleep 1; echo done; exit 3", { language: "bash" });
    expect(status).toBe("running");
    const ended = await sandbox.client.executions.wait(executionId, { pollIntervalMs: 100 });
    expect(ended).toMatchObject({ status: "completed", exitCode: 3, stdout: "done\n" });
    const listed = await sandbox.client.executions.list({ sessionId: sandbox.sessionId });
    expect(listed).toMatchObject([{ executionId, isComplete: true }]);
  });
});

describe("a client", () => {
  test("has VMs and keys, and a key sees nothing of another's", async () => {
    const { vms, apiKeys } = server.client;
    const vm = await vms.create({ name: "one", memoryMib: 512 });
    expect(await vms.get(vm.vmId)).toMatchObject({ name: "one", status: "active", memoryMib: 512 });
    expect(await vms.update(vm.vmId, { metadata: { a: 1 } })).toMatchObject({ name: "one", metadata: { a: 1 } });
    const other = await apiKeys.create({ description: "other" });
    const stranger = await Sandbox.connect(vm.sessionId, { baseUrl: server.baseUrl, apiKey: other.key }).catch(
      (error: unknown) => error,
    );
    expect(isInstaVmError(stranger, "session_not_found")).toBe(true);
    expect((await apiKeys.list()).map(({ description }) => description)).toContain("other");
    await apiKeys.delete(other.keyId);
    await vms.delete(vm.vmId);
    expect((await vms.list()).map(({ vmId }) => vmId)).not.toContain(vm.vmId);
    expect(await vms.listRecords()).toContainEqual(expect.objectContaining({ vmId: vm.vmId }));
  });

  test("makes one session and one VM, however often their answers are lost on the way", async () => {
    await using proxy = await ForgetfulProxy.start(server.baseUrl, ["forgets", "refuses", "none", "forgets"]);
    const client = new InstaVm({ baseUrl: proxy.baseUrl, apiKey: server.apiKey });
    const metadata = { of: "lost answers" };
    const session = await client.createSession({ metadata });
    expect((await server.client.listSessions({ metadata })).map(({ sessionId }) => sessionId)).toEqual([
      session.sessionId,
    ]);
    const vm = await client.vms.create({ metadata: { of: "a lost answer" } });
    const found = await server.client.listSessions({ metadata: { of: "a lost answer" } });
    expect(found.map(({ vmId }) => vmId)).toEqual([vm.vmId]);
    const [first, second, third, fourth, fifth] = proxy.keys;
    expect([first, first, fourth]).toEqual([second, third, fifth]);
    expect(first).not.toBe(fourth);
    await client.kill(session.sessionId);
    await client.vms.delete(vm.vmId);
  });

  test("does what its README shows", async () => {
    const readme = readFileSync(join(repository, "sdk/typescript/README.md"), "utf8");
    const snippets = [...readme.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map(([, code = ""]) => code);
    expect(snippets.length).toBe(4);
    using user = new ShellUser(server);
    const directory = mkdtempSync(join(tmpdir(), "instavm-sdk-readme-"));
    try {
      mkdirSync(join(directory, "node_modules"));
      symlinkSync(join(repository, "sdk/typescript"), join(directory, "node_modules/instavm"));
      writeFileSync(join(directory, "package.json"), '{ "type": "module" }');
      const outputs: string[] = [];
      for (const [index, code] of snippets.entries()) {
        const path = join(directory, `snippet-${String(index)}.ts`);
        writeFileSync(path, code);
        const ran = await user.types(`INSTAVM_API_KEY=${server.apiKey} node ${path}`);
        expect(ran).toMatchObject({ exitCode: 0 });
        outputs.push(ran.stdout);
      }
      expect(outputs).toEqual([
        "45\n 0\n",
        "0\n1\n2\nended with 0\n",
        "true 3 data/in.txt\n\ndone\n\n",
        "42\nhello you\nended with 3\n",
      ]);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
